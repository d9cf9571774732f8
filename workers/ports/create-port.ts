/** Makes a vRNIC's port from its configuration. Packages that are optional are loaded only when asked for. */
import type { Port } from '../port.ts';
import type { PortConfig } from '../vrnic-config.ts';
import { AfPacketPort } from './af-packet.ts';
import { FaultyPort } from './faulty.ts';
import { MemoryPort } from './memory.ts';

/** What the vRNIC adds to its port's configuration. */
export interface PortOwner {
  readonly addresses: readonly Uint8Array[];
  readonly qpns?: { readonly base: number; readonly count: number };
}

/** @throws Error that says what is missing: interface, right, package, file. */
export async function createPort(config: PortConfig, owner: PortOwner): Promise<Port> {
  const port = await createPlain(config, owner);
  return config.faults ? new FaultyPort(port, config.faults) : port;
}

async function createPlain(config: PortConfig, owner: PortOwner): Promise<Port> {
  switch (config.kind) {
    case 'af_packet':
      return new AfPacketPort({ ...config, ...owner });
    case 'memory':
      return new MemoryPort(config.end);
    case 'cap':
      return (await import('./cap.ts')).openCapPort(config.netdev, owner);
    case 'raw_socket':
      return (await import('./raw-socket.ts')).openRawSocketPort(config.netdev, owner);
    case 'pcap_file':
      return new (await import('./pcap-file.ts')).PcapFilePort(config);
  }
}
