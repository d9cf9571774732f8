/** Every counter of a switch port, by name: what it moved, and what it dropped and why. */
const LIST = [
  ['from_port', 'frames that the port sent'],
  ['to_port', 'frames that were given to the port'],
  ['answered', 'ARP requests and neighbour solicitations answered from the endpoint table'],
  ['flooded', 'frames that went to all hosts of the tenant'],
  ['learned', 'MACs that are no endpoint’s, learned with the host that they are behind'],
  ['limited_micros', 'microseconds for which frames waited because of a rate limit'],
  ['drop_short', 'dropped: shorter than its headers'],
  ['drop_too_long', 'dropped: longer than the MTU of the tenant'],
  ['drop_tagged', 'dropped: a VLAN tag hides who sent it'],
  ['drop_offload', 'dropped: a super-frame of a kind that is not taken apart here'],
  ['drop_spoofed', 'dropped: the sender is not who and where it says'],
  ['drop_rule', 'dropped: a rule or a group of the tenant denies it'],
  ['drop_hairpin', 'dropped: the port sent it to itself'],
  ['drop_flood_limit', 'dropped: more to flood than is allowed'],
  ['drop_vni', 'dropped: a VXLAN frame without a VNI, or of another tenant'],
  ['drop_vtep', 'dropped: VXLAN from a host that is not in the tenant'],
  ['drop_inner_address', 'dropped: a VXLAN frame for a MAC that is not the port’s'],
  ['drop_underlay', 'dropped: for an endpoint of another host, and the tenant wants no wire'],
  ['drop_away', 'dropped: the endpoint is not on this host any more'],
  ['drop_no_room', 'dropped: the interface, or the socket, takes no more'],
] as const;

export type PortCounterName = (typeof LIST)[number][0];

/** Index of each, by name. None is 0: a stage that drops nothing answers 0. */
export const PortCounter = Object.fromEntries(LIST.map(([name], index) => [name, index + 1])) as Record<
  PortCounterName,
  number
>;

export class PortCounters {
  readonly #values = new Float64Array(LIST.length + 1);

  add(counter: number, count = 1): void {
    this.#values[counter]! += count;
  }

  toObject(): Record<PortCounterName, number> {
    return Object.fromEntries(LIST.map(([name], index) => [name, this.#values[index + 1]!])) as Record<
      PortCounterName,
      number
    >;
  }
}
