/** A port: where frames come from and go to. AF_PACKET, a VXLAN socket, cap, raw-socket, a pcap file, memory … all look like this to the worker loop. */
import type { ReceiveBurst, TransmitBurst } from '../rnic/burst.ts';
import type { Framing } from '../rnic/path.ts';
import type { Micros } from '../wire/types.ts';

export interface PortCounters {
  rxFrames: number;
  rxBytes: number;
  txFrames: number;
  txBytes: number;
  /** System calls each way (bursts). */
  rxCalls: number;
  txCalls: number;
  /** Frames that the kernel or the medium dropped before we read them; VXLAN: and those that came marked as congested (CE) though they may not be (Not-ECT). */
  rxDropped: number;
  /** Times that the port had to be asked again (full socket buffer). */
  txBusy: number;
  /** Frames that the port refused for good (too long, interface gone). */
  txErrors: number;
}

export interface Port {
  /** `af_packet:eth0`, `pcap:trace.pcapng` … */
  readonly name: string;
  /** What a frame begins with. `vxlan`: the VXLAN header (the outer headers are the socket's). `ip`: no link header. */
  readonly link: 'ethernet' | 'vxlan' | 'ip';
  /** Largest IP packet it carries. */
  readonly mtu: number;
  /** Super-frames that it takes. */
  readonly framing: Framing;
  /** To sleep on with poll(2); -1 when there is none: the port calls back (`cap`, `raw-socket`: main thread only, see workers/bridge.ts), or a file. */
  readonly fileDescriptor: number;
  /** Ports that have two to sleep on. */
  readonly secondDescriptor?: number;
  readonly counters: PortCounters;
  /** False: just now nobody need ask it. What comes for it comes by its sink, which somebody else feeds. Absent: it has to be asked in every breath. */
  readonly isAsked?: boolean;
  /** Fills `burst` from its start (never more than it holds). Returns the frames read, those that it gave to others among them; 0 when there are none. Never blocks. @param now where the reader knows it. */
  receive(burst: ReceiveBurst, now?: Micros): number;
  /** Sends frames `burst.sent` … `burst.count` and moves `burst.sent` past those that were taken. False when some are left: ask again later. Never blocks. @param now where the sender knows it. */
  transmit(burst: TransmitBurst, now?: Micros): boolean;
  /** Ports that are called back: `wake` is called when frames arrive, and when a full port takes frames again. Others ignore it. */
  onReadable(wake: () => void): void;
  /** Ports that filter by address: the vRNIC's addresses have changed (16 octets each). */
  setAddresses?(addresses: readonly Uint8Array[]): void;
  /** Shared-memory ports: told before the worker sleeps (true) and when it woke (false). Answers false when frames have come meanwhile: no sleep then. */
  setSleeping?(asleep: boolean): boolean;
  /** Gives everything back. Idempotent. */
  close(): void;
}
