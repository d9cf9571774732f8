/** A capture of all that a vRNIC sends and takes, whichever way: taps in its ports, and in the sinks that others feed. */
import type { ReceiveBurst, TransmitBurst } from '../rnic/burst.ts';
import type { Micros } from '../wire/types.ts';
import * as Vxlan from '../wire/vxlan.ts';
import { LOCAL_PORT } from './overlay/overlay.ts';
import type { TenantPlace } from './overlay/place.ts';
import { TRANSLATED_PORT } from './overlay/translation.ts';
import { LOOPBACK_PORT, WIRE_PORT } from './path-resolver.ts';
import type { Port } from './port.ts';
import { CapturePort } from './ports/capture.ts';
import type { CaptureFile } from './ports/capture-file.ts';
import { asItIs, EACH, fromMemory, type Lens, Recorder, withoutVxlan } from './ports/recorder.ts';

/** Whoever has a sink that others feed. */
interface Fed<B extends TransmitBurst | ReceiveBurst> {
  sink: ((burst: B, i: number, now: Micros) => void) | null;
}

export class VrnicCapture {
  readonly #file: CaptureFile;
  readonly #ports: Port[];
  readonly #undo: (() => void)[] = [];

  /** @param ports the vRNIC's, by index. @param place null outside of tenants' networks. @param translated shows a translated packet as its tenant's. */
  constructor(ports: Port[], place: TenantPlace | null, file: CaptureFile, translated: Lens) {
    this.#file = file;
    this.#ports = ports;
    const { link } = ports[WIRE_PORT]!;
    const wire = this.#tapPort(WIRE_PORT, link === 'vxlan' ? withoutVxlan : asItIs, link === 'ethernet' ? 0 : EACH);
    this.#tapPort(LOOPBACK_PORT, fromMemory);
    if (place === null) return;
    this.#tapSink(place.wire, wire);
    this.#tapSink(place.local, this.#tapPort(LOCAL_PORT, fromMemory, Vxlan.BYTES));
    if (place.translation === null) return;
    this.#tapSink(place.translation.port, this.#tapPort(TRANSLATED_PORT, translated));
  }

  /** All is as it was, and the file is whole. */
  end(): void {
    for (const undo of this.#undo) undo();
    this.#file.close();
  }

  #tapPort(index: number, lens: Lens, headAt = 0): Recorder {
    const recorder = new Recorder(this.#file, lens, headAt);
    const plain = this.#ports[index]!;
    this.#ports[index] = new CapturePort(plain, recorder);
    this.#undo.push(() => {
      this.#ports[index] = plain;
    });
    return recorder;
  }

  #tapSink<B extends TransmitBurst | ReceiveBurst>(fed: Fed<B>, recorder: Recorder): void {
    const { sink } = fed;
    fed.sink = (burst, i, now) => {
      recorder.record(burst, i);
      sink?.(burst, i, now);
    };
    this.#undo.push(() => {
      fed.sink = sink;
    });
  }
}
