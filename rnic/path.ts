/** How packets of one connection or address handle leave: the headers before the BTH, ready made, and the port that takes them. */

/**
 * Whether equal-sized packets of one flow may be handed to the port as one super-frame (DESIGN §4).
 * `HEADER_ONCE`: link, IP and UDP headers stand once, the segments follow (AF_PACKET with a virtio header): the kernel counts up the IPv4 identification.
 * `HEADER_EACH`: every segment carries all its headers (VXLAN in a UDP socket with UDP_SEGMENT).
 */
export const Framing = { SINGLE: 0, HEADER_ONCE: 1, HEADER_EACH: 2 } as const;
export type Framing = (typeof Framing)[keyof typeof Framing];

/**
 *     template:  [ encapsulation ][ Ethernet ][ IPv4 or IPv6 ][ UDP ]
 *                0                ethernetAt  ipAt            udpAt   byteLength = where the BTH goes
 *
 * UDP source port, lengths, IPv4 identification and checksum are filled in for each packet; all other octets are sent as they stand.
 */
export interface Path {
  /** Shared by connections to one peer. */
  template: Uint8Array;
  /** UDP source port. */
  readonly sourcePort: number;
  readonly ethernetAt: number;
  readonly ipAt: number;
  readonly udpAt: number;
  readonly isIpv6: boolean;
  /** Which of the vRNIC's ports sends it. It, `framing` and `icrcElided` change when the peer moves to this host or away from it. */
  port: number;
  /** What that port needs to know to send it (a VXLAN socket: which VTEP); 0 when nothing. Changes when the peer moves, or may be reached no more. */
  destination: number;
  framing: Framing;
  /** No ICRC is computed, four zero octets stand in its place: only for packets that never leave this host's memory. */
  icrcElided: boolean;
  /** Of a multicast group: the way to the members on this vRNIC, beside the one to the network. */
  readonly local?: Path;
  /** Of a multicast group of a tenant: the frames that one becomes, one for each other host, which all count. Changes with the tenant's hosts. */
  copies?: number;
}

/** How packets of a tenant travel: in VXLAN; as plain RoCEv2 between the hosts' addresses; or never leaving the host. */
export type Underlay = 'vxlan' | 'translate' | 'local';

/** An address vector as verbs give it (`ibv_ah_attr`, always with a GRH on RoCE). */
export interface AddressVector {
  /** 16 octets. */
  readonly dgid: Uint8Array;
  readonly sgidIndex: number;
  readonly hopLimit: number;
  readonly trafficClass: number;
  readonly flowLabel: number;
  readonly sl?: number;
  readonly portNum: number;
  /** In a tenant's network: which way this connection goes, whatever the tenant's own choice is. Both ends must say the same. */
  readonly underlay?: Underlay;
}
