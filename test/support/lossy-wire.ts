/**
 * A wire that loses frames at random in its middle, where neither end's packet socket sees it: two bridges in a namespace of their own, joined by a cable that
 * carries frames one by one (a super-frame is taken apart as it enters), and nftables at both ends of the cable.
 */
import { must, Namespace, type Teardown } from './netns.ts';

export type WireEnd = 'left' | 'right';

/** IPv4 frames that came to the end of the cable, both ways together, since the loss was set; of them so many were lost. */
export interface WireCounts {
  readonly carried: number;
  readonly lost: number;
}

const ENDS: readonly WireEnd[] = ['left', 'right'];
const PARTS = 10_000;
const OFFLOADS = ['tso', 'gso', 'gro', 'tx-udp-segmentation'].flatMap((feature) => [feature, 'off']);

export class LossyWire {
  /** Has a bridge for each end: `left`, `right`. */
  readonly namespace: Namespace;
  readonly #mtu: number;

  private constructor(namespace: Namespace, mtu: number) {
    this.namespace = namespace;
    this.#mtu = mtu;
  }

  static async create(t: Teardown, mtu = 9000): Promise<LossyWire> {
    const namespace = await Namespace.create(t, 'lossy');
    const wire = new LossyWire(namespace, mtu);
    await namespace.ip('link', 'add', 'cable-left', 'type', 'veth', 'peer', 'name', 'cable-right');
    for (const end of ENDS) {
      await namespace.ip('link', 'add', end, 'type', 'bridge');
      await namespace.ip('link', 'set', end, 'mtu', String(mtu), 'up');
      await must(...namespace.command(['ethtool', '-K', `cable-${end}`, ...OFFLOADS]));
      await wire.attach(`cable-${end}`, end);
    }
    return wire;
  }

  /** A device of this namespace becomes a port of an end. */
  async attach(device: string, end: WireEnd): Promise<void> {
    await this.namespace.ip('link', 'set', device, 'mtu', String(this.#mtu), 'master', end, 'up');
  }

  /** The name of a device in the caller's namespace that is an end of the wire: to be moved to where it is wanted. */
  async plug(end: WireEnd): Promise<string> {
    const [device, port] = [`wire-${end}`, `port-${end}`];
    await must(
      ...['ip', 'link', 'add', device, 'type', 'veth', 'peer', 'name', port],
      ...['netns', this.namespace.name],
    );
    await this.attach(port, end);
    return device;
  }

  /** From now on this share of the IPv4 frames is lost each way; those of the spared TCP port are not. Counts begin anew. */
  async lose(share: number, sparedTcpPort = 0): Promise<void> {
    const rules = [
      'meta protocol != ip accept',
      `tcp dport ${sparedTcpPort} accept`,
      `tcp sport ${sparedTcpPort} accept`,
      'counter name carried',
      `numgen random mod ${PARTS} < ${Math.round(share * PARTS)} counter name lost drop`,
    ];
    const chains = ENDS.map((end) => {
      const hook = `type filter hook ingress device "cable-${end}" priority 0`;
      return ['chain', end, '{', [hook, ...rules].join('\n'), '\n}'].join(' ');
    });
    const counters = 'counter carried { }\ncounter lost { }';
    const table = `table netdev loss {\n${counters}\n${chains.join('\n')}\n}\n`;
    const input = `table netdev loss { }\ndelete table netdev loss\n${table}`;
    const { code, output } = await this.namespace.run(['nft', '-f', '-'], { input });
    if (code !== 0) throw new Error(`nft: exit ${code}\n${output}`);
  }

  async counts(): Promise<WireCounts> {
    const text = await must(...this.namespace.command(['nft', 'list', 'counters', 'netdev']));
    const packetsOf = (name: string): number =>
      Number(new RegExp(`counter ${name} {\\s*packets (\\d+)`).exec(text)![1]);
    return { carried: packetsOf('carried'), lost: packetsOf('lost') };
  }
}
