/** Lays packets out in a transmit burst as they leave: headers from the path, payload copied once, ICRC last; joins equal-sized neighbours into super-frames. */
import type { Memory } from './memory/memory.ts';
import type { Path } from './path.ts';

/**
 * One packet at a time: `begin`, write the BTH and extension headers at `bthAt` of `view`, put the payload, `end`. Whatever is not ended is forgotten by the
 * next `begin`. One writer per port; the worker flushes its burst.
 */
export interface PacketWriter {
  readonly view: DataView;
  readonly bytes: Uint8Array;
  /** Where the BTH of the packet that was begun goes. */
  readonly bthAt: number;
  /** True when a packet of this size still fits. False: the caller stops, the burst is sent first. */
  hasRoom(path: Path, packetBytes: number): boolean;
  /** `headerBytes`: BTH + extension headers. Payload goes at bthAt + headerBytes. */
  begin(path: Path, headerBytes: number): void;
  /** Copies payload from a region, after what was put before. False when the memory is gone. */
  putPayload(memory: Memory, offset: number, length: number): boolean;
  /** Copies payload from octets (inline data, atomics). */
  putBytes(source: Uint8Array, at: number, length: number): void;
  /** Pads (the caller has set PadCnt in the BTH), appends the ICRC, closes the packet. Returns its octets from BTH to ICRC. */
  end(): number;
}
