/** A link whose vRNIC lives in the program's own thread: the application's half and the vRNIC's at once, commands are function calls. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Errno, type Refusal, type Result } from '../rnic/commands.ts';
import type { DoorbellPage } from '../rnic/queue/doorbell.ts';
import type { Application } from './application.ts';
import { clock } from './clock.ts';
import type { DeviceLink, Driver, LinkCommand, LinkEvent } from './device-link.ts';
import type { LinkReply } from './messages.ts';

export class PolledLink implements DeviceLink {
  readonly deviceName: string;
  readonly driver?: Driver;
  onEvent: ((event: LinkEvent) => void) | null = null;
  #application: Application | null = null;
  #onClose: () => void = () => {};
  readonly #progress: () => void;
  readonly #calls = new Map<number, (result: Result) => void>();
  #nextId = 1;

  /** @param progress moves the vRNIC while a command waits. @param driver for the program, where its polls move the vRNIC. */
  constructor(deviceName: string, progress: () => void, driver?: Driver) {
    this.deviceName = deviceName;
    this.#progress = progress;
    if (driver) this.driver = driver;
  }

  get doorbell(): DoorbellPage {
    return this.#application!.doorbell;
  }

  begin(application: Application, onClose: () => void): void {
    this.#application = application;
    this.#onClose = onClose;
  }

  /** For the application: its answers and events. */
  postMessage(reply: LinkReply): void {
    if (reply.kind === 'event') this.onEvent?.(reply.event);
    else if (reply.kind === 'result') {
      const settle = this.#calls.get(reply.id);
      this.#calls.delete(reply.id);
      settle?.(reply.result);
    }
  }

  call<C extends LinkCommand>(command: C): Promise<Result<C['op']>> {
    const application = this.#application;
    if (application === null) return Promise.resolve(gone(this.deviceName));
    return new Promise((resolve) => {
      const id = this.#nextId++;
      this.#calls.set(id, resolve as (result: Result) => void);
      application.handleCommand(id, command, clock());
      if (this.#calls.has(id)) this.#driveUntil(id);
    });
  }

  wake(): void {}

  async close(): Promise<void> {
    if (this.#application === null) return;
    this.#application = null;
    this.#onClose();
    for (const settle of this.#calls.values()) settle(gone(this.deviceName));
    this.#calls.clear();
  }

  end(reason: string): void {
    void this.close();
    this.onEvent?.({ kind: 'fatal', reason });
  }

  /** The command waits for a neighbour: somebody must receive its answer. */
  async #driveUntil(id: number): Promise<void> {
    while (this.#calls.has(id)) {
      this.#progress();
      await nextTurn();
    }
  }
}

const gone = (name: string): Refusal => ({ ok: false, errno: Errno.EIO, reason: `${name}: this link is closed` });
