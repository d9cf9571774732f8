/** What a program finds under /sys and /dev/infiniband: files in the vRNIC's directory that look as rxe's do. Documentation/ABI/stable/sysfs-class-infiniband. */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { DeviceAttributes, PortAttributes } from '../../rnic/commands.ts';

/** libibverbs binds librxe to devices of this name (VERBS_NAME_MATCH). */
const DEVICE_NAME = 'rxe0';

export interface DeviceTree {
  readonly device: DeviceAttributes;
  readonly port: PortAttributes;
  /** 16 octets each. */
  readonly gids: readonly Uint8Array[];
  readonly netdev: string;
}

const VERBS = 'sys/class/infiniband_verbs';
const DEVICE = `sys/class/infiniband/${DEVICE_NAME}`;
const PORT = `${DEVICE}/ports/1`;

/** Entries of the GID table that programs see: those without an address are zero, for addresses that may come. */
export const gidTableLength = (used: number): number => Math.max(16, used);
const NO_GID = new Uint8Array(16);

const words = (octets: Uint8Array): string =>
  Buffer.from(octets)
    .toString('hex')
    .replace(/(.{4})(?=.)/g, '$1:');
const guid = (value: bigint): string =>
  value
    .toString(16)
    .padStart(16, '0')
    .replace(/(.{4})(?=.)/g, '$1:');

const STATES: Record<number, string> = { 1: '1: DOWN', 4: '4: ACTIVE' };
const PHYSICAL_STATES: Record<number, string> = { 3: '3: Disabled', 5: '5: LinkUp' };

/** Path below the directory → the line that the file holds. */
function linesOf({ device, port, netdev }: DeviceTree): Record<string, string> {
  return {
    [`${VERBS}/abi_version`]: '6',
    [`${VERBS}/uverbs0/ibdev`]: DEVICE_NAME,
    [`${VERBS}/uverbs0/abi_version`]: '2',
    [`${VERBS}/uverbs0/dev`]: '231:192',
    [`${DEVICE}/node_type`]: '1: CA',
    [`${DEVICE}/node_guid`]: guid(device.nodeGuid),
    [`${DEVICE}/sys_image_guid`]: guid(device.nodeGuid),
    [`${DEVICE}/node_desc`]: 'urnic',
    [`${DEVICE}/fw_ver`]: '',
    [`${DEVICE}/parent`]: netdev,
    [`${DEVICE}/device/net/${netdev}/ifindex`]: '2',
    [`${PORT}/pkeys/0`]: '0xffff',
    [`${PORT}/state`]: STATES[port.state] ?? '1: DOWN',
    [`${PORT}/phys_state`]: PHYSICAL_STATES[port.physState] ?? '3: Disabled',
    [`${PORT}/rate`]: '100 Gb/sec (4X EDR)',
    [`${PORT}/link_layer`]: 'Ethernet',
    [`${PORT}/lid`]: '0x0',
    [`${PORT}/lid_mask_count`]: '0',
    [`${PORT}/sm_lid`]: '0x0',
    [`${PORT}/sm_sl`]: '0',
    [`${PORT}/cap_mask`]: '0x00010000',
    'sys/class/misc/rdma_cm/abi_version': '4',
    'sys/class/misc/rdma_cm/dev': '10:58',
    'dev/infiniband/uverbs0': '231:192',
    'dev/infiniband/rdma_cm': '10:58',
  };
}

/** Writes the whole tree. A program that reads while it changes sees the old line or the new one. */
export function writeTree(directory: string, tree: DeviceTree): void {
  for (const [path, line] of Object.entries(linesOf(tree))) writeLine(join(directory, path), line);
  const { gids, netdev } = tree;
  for (let index = 0; index < gidTableLength(gids.length); index++) {
    writeLine(join(directory, PORT, 'gids', String(index)), words(gids[index] ?? NO_GID));
    writeLine(join(directory, PORT, 'gid_attrs/types', String(index)), 'RoCE v2');
    writeLine(join(directory, PORT, 'gid_attrs/ndevs', String(index)), netdev);
  }
}

function writeLine(path: string, line: string): void {
  mkdirSync(dirname(path), { recursive: true });
  const fresh = `${path}.new`;
  writeFileSync(fresh, `${line}\n`);
  renameSync(fresh, path);
}
