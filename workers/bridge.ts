/** Joins a port that lives in the main thread (cap, raw-socket) to a worker, by a pair of frame rings. */
import { node } from 'koffi';
import { ReceiveBurst, TransmitBurst } from '../rnic/burst.ts';
import { readNetdev } from './linux/netdev.ts';
import type { Port } from './port.ts';
import { openCapPort } from './ports/cap.ts';
import { type MemoryEnd, MemoryPort, newMemoryPair } from './ports/memory.ts';
import { openRawSocketPort } from './ports/raw-socket.ts';
import type { PortConfig, VrnicConfig } from './vrnic-config.ts';

type Bridged = Extract<PortConfig, { kind: 'cap' | 'raw_socket' }>;

/** Bursts in a row before the event loop gets a turn. */
const BURSTS_A_TURN = 16;

export class Bridge {
  /** For the worker. */
  readonly end: MemoryEnd;
  readonly #port: Port;
  readonly #memory: MemoryPort;
  readonly #poll: node.PollHandle;
  readonly #in = new ReceiveBurst();
  readonly #toWorker: TransmitBurst;
  readonly #fromWorker = new ReceiveBurst();
  readonly #toPort: TransmitBurst;
  #isOpen = true;
  #isScheduled = false;

  constructor(port: Port) {
    const [ours, theirs] = newMemoryPair(port.name, { mtu: port.mtu, link: port.link, framing: port.framing });
    this.end = theirs;
    this.#port = port;
    this.#memory = new MemoryPort(ours);
    this.#toWorker = new TransmitBurst(this.#in.bytes.length);
    this.#toPort = new TransmitBurst(this.#fromWorker.bytes.length);
    port.onReadable(() => this.#schedule());
    this.#poll = node.poll(this.#memory.fileDescriptor, { readable: true }, () => this.#schedule());
    this.#schedule();
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#poll.close();
    this.#memory.close();
    this.#port.close();
  }

  #schedule(): void {
    if (this.#isScheduled || !this.#isOpen) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      if (this.#isOpen) this.#pump();
    });
  }

  #pump(): void {
    this.#memory.setSleeping(false);
    for (let turn = 0; turn < BURSTS_A_TURN; turn++) {
      const inward = move(this.#port, this.#in, this.#memory, this.#toWorker);
      const outward = move(this.#memory, this.#fromWorker, this.#port, this.#toPort);
      if (!inward && !outward) break;
    }
    const isStuck = this.#toWorker.count > 0 || this.#toPort.count > 0;
    if (!this.#memory.setSleeping(true) || isStuck) this.#schedule();
  }
}

/** Moves one burst; true when there was something. What the target has not taken yet goes first. */
function move(from: Port, received: ReceiveBurst, to: Port, sending: TransmitBurst): boolean {
  if (sending.count === 0 && from.receive(received) === 0) return false;
  if (sending.count === 0) copyBurst(received, sending);
  if (!to.transmit(sending)) return false;
  sending.reset();
  return true;
}

function copyBurst(received: ReceiveBurst, sending: TransmitBurst): void {
  for (let i = 0; i < received.count; i++) {
    const [at, bytes] = [received.at[i]!, received.frameBytes[i]!];
    sending.bytes.set(received.bytes.subarray(at, at + bytes), sending.end);
    sending.at[i] = sending.end;
    sending.frameBytes[i] = bytes;
    sending.segmentBytes[i] = received.segmentBytes[i]!;
    sending.headerBytes[i] = 0;
    sending.destination[i] = 0;
    sending.end += bytes;
    sending.count++;
  }
}

/** Opens the main thread's half of such a port; the configuration that the worker gets stands on the other end. @throws Error */
export function bridge(config: VrnicConfig, port: Bridged): { bridge: Bridge; config: VrnicConfig } {
  const addresses = config.gids ?? readNetdev(port.netdev).addresses;
  const owner = { addresses };
  const opened = port.kind === 'cap' ? openCapPort(port.netdev, owner) : openRawSocketPort(port.netdev, owner);
  const made = new Bridge(opened);
  const { faults } = port;
  const memory: PortConfig = { kind: 'memory', end: made.end, netdev: port.netdev, ...(faults ? { faults } : {}) };
  return { bridge: made, config: { ...config, port: memory } };
}
