/** Makes the port of a vRNIC in its worker from its configuration. */
import { macNumber } from '../../vswitch/tenant-view.ts';
import type { QpnRange } from '../linux/roce-filter.ts';
import { joinVtep } from '../overlay/vxlan-hub.ts';
import type { Port } from '../port.ts';
import type { PortConfig } from '../vrnic-config.ts';
import { AfPacketPort } from './af-packet.ts';
import { FaultyPort } from './faulty.ts';
import { MemoryPort } from './memory.ts';
import { PcapFilePort } from './pcap-file.ts';

/** What the vRNIC adds to its port's configuration. */
export interface PortOwner {
  readonly addresses: readonly Uint8Array[];
  /** In a tenant's network. */
  readonly mac?: Uint8Array;
  readonly vni?: number;
  readonly qpns?: readonly QpnRange[];
}

/** @throws Error that says what is missing: interface, right, file. */
export function createPort(config: PortConfig, owner: PortOwner): Port {
  const port = createPlain(config, owner);
  return config.faults ? new FaultyPort(port, config.faults) : port;
}

function createPlain(config: PortConfig, owner: PortOwner): Port {
  switch (config.kind) {
    case 'af_packet':
      return new AfPacketPort({ ...config, ...owner });
    case 'memory':
      return new MemoryPort(config.end);
    case 'vxlan':
      if (owner.vni === undefined || owner.mac === undefined) throw new Error('a vxlan port needs a tenant');
      return joinVtep(config, owner.vni, macNumber(owner.mac));
    case 'pcap_file':
      return new PcapFilePort(config);
    default:
      throw new Error(`a ${config.kind} port lives in the main thread: bridge it (workers/bridge.ts)`);
  }
}
