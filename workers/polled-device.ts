/**
 * A vRNIC that lives in the program's own thread and moves when the program polls: no worker, no second wake-up, and on a machine with few cores no threads that
 * keep each other from running. Between two polls nothing is received, acknowledged or sent again; a timer polls for a program that waits in its event loop.
 */
import type { Micros } from '../wire/types.ts';
import { clock, IdleClock } from './clock.ts';
import type { DeviceLink, Driver } from './device-link.ts';
import { ENGINE_PARTS } from './engine-parts.ts';
import * as Libc from './linux/libc.ts';
import { Crowd } from './linux/scheduling.ts';
import type { LocalDevice } from './local-device.ts';
import { PolledLink } from './polled-link.ts';
import { Sleeper } from './sleeper.ts';
import { openVrnic, type Vrnic } from './vrnic.ts';
import { SPIN_MICROS, type Spin, type VrnicConfig, YIELD_MICROS } from './vrnic-config.ts';

/** How often the device is polled while the program waits for something else. */
const BACKGROUND_MILLIS = 1;
const REFRESH_MICROS: Micros = 500_000;

/** One for all devices of a thread: while one of them is busy, the time is right for the others, too. */
const breaths = new IdleClock();

/** @throws Error that says why not: no such interface, no CAP_NET_RAW, a port that needs a bridge … */
export function openPolledDevice(config: VrnicConfig, spin: Spin = SPIN_MICROS): LocalDevice {
  if (config.namespace !== undefined)
    throw new Error('a polled device lives in the network namespace of its own thread');
  return new PolledDevice(config, spin);
}

class PolledDevice implements LocalDevice, Driver {
  readonly name: string;
  readonly #config: VrnicConfig;
  /** None: its interface was made anew, and nobody has opened it since; or it was stopped. */
  #vrnic: Vrnic | null;
  readonly #links = new Set<PolledLink>();
  readonly #sleeper = new Sleeper();
  readonly #timer: NodeJS.Timeout;
  readonly #crowd = new Crowd();
  readonly #spinMicros: number;
  #isIdle = false;
  #refreshAt: Micros = 0;
  #isOpen = true;

  constructor(config: VrnicConfig, spin: Spin) {
    this.name = config.name;
    this.#config = config;
    this.#spinMicros = spin === 'always' ? Number.POSITIVE_INFINITY : spin;
    this.#vrnic = openVrnic(config, ENGINE_PARTS);
    this.#timer = setInterval(() => this.#background(), BACKGROUND_MILLIS).unref();
  }

  async open(): Promise<DeviceLink> {
    const link = new PolledLink(this.name, () => this.progress(), this);
    const vrnic = this.#ready();
    const attached = vrnic.attach(link);
    if (!attached) throw new Error(`${this.name}: the vRNIC has no context left`);
    link.begin(attached.application, () => {
      this.#links.delete(link);
      vrnic.detach(attached.application, clock());
    });
    this.#links.add(link);
    return link;
  }

  async endpoint(): Promise<never> {
    throw new Error(`${this.name} is polled by the thread that made it: it cannot be shared with another`);
  }

  progress(): boolean {
    if (this.#vrnic === null) return false;
    const isBusy = this.#vrnic.breathe(breaths.read(this.#isIdle));
    this.#isIdle = !isBusy;
    return isBusy;
  }

  sleep(micros: Micros): boolean {
    const vrnic = this.#vrnic;
    if (vrnic === null) return false;
    const until = clock() + micros;
    if (this.#spin(until)) return true;
    const now = clock();
    if (now >= until) return false;
    if (vrnic.setSleeping(true)) {
      this.#sleeper.reset();
      const deadline = Math.min(vrnic.watch(this.#sleeper, now), until);
      if (deadline > now) this.#sleeper.sleep(deadline - now);
    }
    vrnic.setSleeping(false);
    this.#isIdle = false;
    return this.progress();
  }

  /** True when something came before it is time to sleep. */
  #spin(until: Micros): boolean {
    const begin = clock();
    const end = Math.min(begin + this.#spinMicros, until);
    for (let now = begin; now < end && !this.#isCrowded(now); now = clock()) {
      if (this.progress()) return true;
      if (now - begin >= YIELD_MICROS) Libc.schedYield();
    }
    return false;
  }

  /** Who is told to spin always does. */
  #isCrowded(now: Micros): boolean {
    return this.#spinMicros !== Number.POSITIVE_INFINITY && this.#crowd.isHere(now);
  }

  async statistics() {
    return this.#ready().statistics();
  }

  async capture(file?: string): Promise<void> {
    this.#ready().capture(file === undefined ? undefined : { file });
  }

  async stop(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    clearInterval(this.#timer);
    this.#endVrnic();
    this.#crowd.close();
    this.#sleeper.close();
  }

  /** The vRNIC, made anew when its interface was. @throws Error that says why not. */
  #ready(): Vrnic {
    if (!this.#isOpen) throw new Error(`${this.name}: the device was stopped`);
    this.#vrnic ??= openVrnic(this.#config, ENGINE_PARTS);
    return this.#vrnic;
  }

  #endVrnic(): void {
    for (const link of this.#links) link.end(`${this.name}: the vRNIC has ended`);
    this.#vrnic?.close(clock());
    this.#vrnic = null;
  }

  #background(): void {
    this.progress();
    const now = clock();
    if (this.#vrnic === null || now < this.#refreshAt) return;
    this.#refreshAt = now + REFRESH_MICROS;
    if (!this.#vrnic.refresh()) this.#endVrnic();
    this.#sleeper.clearErrors();
  }
}
