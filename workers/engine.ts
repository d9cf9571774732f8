/** The engine as the worker drives it (ARCHITECTURE.md, "The engine's contract"): one input, then every poll, then the next input. */
import type { CmEvent } from '../rnic/cm/commands.ts';
import type { AnyCommand, EngineEvent, Result } from '../rnic/commands.ts';
import type { GidEntry, RnicConfig, RnicHost, RnicLimits } from '../rnic/config.ts';
import { QpState } from '../rnic/constants.ts';
import type { Counters } from '../rnic/counters.ts';
import type { Memory } from '../rnic/memory/memory.ts';
import type { ReceivedPacket } from '../rnic/packet.ts';
import type { PacketWriter } from '../rnic/packet-writer.ts';
import type { DoorbellPage } from '../rnic/queue/doorbell.ts';
import type { ContextResources } from '../rnic/resources.ts';
import type { Micros } from '../wire/types.ts';

export interface Engine {
  openContext(doorbell: DoorbellPage): number;
  closeContext(context: number, now: Micros): void;
  execute(context: number, command: AnyCommand, now: Micros): Result;
  handlePacket(packet: ReceivedPacket, now: Micros): void;
  settle(): void;
  handleDoorbells(now: Micros): void;
  handleTimeout(now: Micros): void;
  pollTransmit(out: PacketWriter, now: Micros): boolean;
  pollEvent(out: EngineEvent): boolean;
  pollCmEvent(): CmEvent | undefined;
  pollTimeout(mayTransmit?: boolean): Micros;
  setGids(gids: GidEntry[]): void;
  /** Frames pass, or do not: the port's state, and an event to every application. */
  setLink(isUp: boolean): void;
  setLimits(limits: RnicLimits): void;
  /** What the port carries from now on, as RnicConfig has it: for QPs that are connected afterwards. */
  setMtu(mtu: number): void;
  /** Ends a connection from outside: ERR, and QP_FATAL to its application. */
  revoke(qpn: number): boolean;
  isConnected(qpn: number): boolean;
  resources(): ContextResources[];
  readonly counters: Counters;
}

/** What the worker is given to build vRNICs with. */
export interface EngineParts {
  newEngine(config: RnicConfig, host: RnicHost): Engine;
  /** A region over octets of this process, from `byteOffset` to the buffer's end. */
  newMemory(buffer: SharedArrayBuffer, byteOffset: number): Memory;
}

/** After this command the QP sends nothing more: what it owes goes with it. In ERR it may still acknowledge. */
export const endsQp = (command: AnyCommand): boolean =>
  command.op === 'destroyQp' || (command.op === 'modifyQp' && command.attributes?.qpState === QpState.RESET);
