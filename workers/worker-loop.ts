/** The loop of one worker thread: breathes for each of its vRNICs and switch ports, reads its mail when the bell says so, spins, then sleeps. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import type { Micros } from '../wire/types.ts';
import type { Application } from './application.ts';
import { Bell, SUMMONED_MAX } from './bell.ts';
import { clock, IdleClock } from './clock.ts';
import type { EngineParts } from './engine.ts';
import { useLedger } from './linux/descriptors.ts';
import * as Libc from './linux/libc.ts';
import { enterNetworkNamespace } from './linux/namespace.ts';
import { eachOnce, findNetdev } from './linux/netdev.ts';
import { Crowd, preferThisThread } from './linux/scheduling.ts';
import type { ControlAnswer, ControlMessage, ControlNotice, HostedProgram, LinkMessage } from './messages.ts';
import { Naps } from './naps.ts';
import { breatheLinks, came, closeLinks, meet, part, setLinksSleeping, went } from './overlay/elsewhere.ts';
import { openSwitchPort, type SwitchPort, type SwitchPortConfig } from './overlay/switch-port.ts';
import { Patience } from './patience.ts';
import { Sleeper } from './sleeper.ts';
import { Turns } from './turns.ts';
import { openVrnic, type Vrnic } from './vrnic.ts';
import { type Spin, type VrnicConfig, YIELD_MICROS } from './vrnic-config.ts';

export interface WorkerTask {
  readonly control: MessagePort;
  readonly bell: SharedArrayBuffer;
  /** The worker's own duplicate of its eventfd. */
  readonly wakeFd: number;
  readonly spin: Spin;
  /** Node's event loop gets a turn this often: closed ports, console output. */
  readonly turnMicros: Micros;
  /** Where the thread writes down what it has open (workers/linux/descriptors.ts). */
  readonly ledger: SharedArrayBuffer;
}

interface Attachment {
  readonly vrnic: Vrnic;
  readonly port: MessagePort;
  /** Null until it says `open`. */
  application: Application | null;
}

/** Messages of one application in one breath: the data path waits for no control flood. */
const MESSAGE_COUNT_MAX = 32;

export class WorkerLoop {
  readonly #control: MessagePort;
  readonly #bell: Bell;
  readonly #patience: Patience;
  readonly #turnMicros: number;
  readonly #parts: EngineParts;
  readonly #vrnics: Vrnic[] = [];
  readonly #ports: SwitchPort[] = [];
  /** Both, as they have their turns. */
  #breathers: readonly (Vrnic | SwitchPort)[] = [];
  readonly #attachments = new Map<MessagePort, Attachment>();
  readonly #sleeper = new Sleeper();
  readonly #clock = new IdleClock();
  readonly #crowd = new Crowd();
  readonly #naps = new Naps();
  /** When there was nothing to do, last time, and packets until then. */
  #restedAt: Micros = 0;
  #packetsAtRest = 0;
  /** Runs ahead of ordinary threads. */
  #isPreferred = false;
  #isStopped = false;
  #busyAt: Micros = 0;
  #namespace: string | undefined;
  readonly #turns = new Turns();
  /** By their bits of the bell. */
  readonly #summoned: (Vrnic | undefined)[] = [];
  readonly #stir = (index: number): void => this.#summoned[index]?.stir();

  constructor(task: WorkerTask, parts: EngineParts) {
    useLedger(task.ledger);
    this.#control = task.control;
    this.#bell = new Bell(task.bell, task.wakeFd);
    this.#patience = new Patience(task.spin);
    this.#turnMicros = task.turnMicros;
    this.#parts = parts;
  }

  /** Until `shutdown`. */
  async run(): Promise<void> {
    while (!this.#isStopped) {
      this.#spin();
      const find = eachOnce(findNetdev);
      for (const vrnic of this.#vrnics)
        if (!vrnic.refresh(find)) this.#control.postMessage({ stale: vrnic.name } satisfies ControlNotice);
      for (const port of this.#ports) port.refresh();
      this.#sleeper.clearErrors();
      await nextTurn();
    }
  }

  close(): void {
    const now = clock();
    for (const vrnic of this.#vrnics) vrnic.close(now);
    for (const port of this.#ports) port.close();
    closeLinks();
    for (const port of this.#attachments.keys()) port.close();
    this.#control.close();
    this.#bell.close();
    this.#crowd.close();
    this.#sleeper.close();
  }

  /** Breathes and sleeps until the event loop is due. */
  #spin(): void {
    let now = clock();
    const turnAt = now + this.#turnMicros;
    while (!this.#isStopped && now < turnAt) {
      const isBusy = this.#breathe(now);
      const isCrowded = this.#heedCrowd(now);
      if (isBusy) this.#busyAt = now;
      const hasSlept = !isBusy && this.#rest(now, turnAt, isCrowded);
      now = this.#clock.read(!isBusy && !hasSlept);
    }
  }

  /** Nothing to do: lets others have the core if they want it, or sleeps when it has been so for long enough. True when time has passed. */
  #rest(now: Micros, turnAt: Micros, isCrowded: boolean): boolean {
    if (isCrowded && this.#nap(now)) return true;
    const idleMicros = now - this.#busyAt;
    if (idleMicros >= this.#patience.micros || isCrowded) this.#sleep(now, turnAt);
    else if (idleMicros >= YIELD_MICROS) Libc.schedYield();
    else return false;
    return true;
  }

  /**
   * Who is told to spin always does. In a crowd a worker sleeps whenever it has nothing to do and runs ahead of ordinary threads when it has: a program that polls its CQ
   * would keep it from the core for a scheduler's slice, some milliseconds. Otherwise it is one of them, or no program could wake up beside it.
   */
  #heedCrowd(now: Micros): boolean {
    if (this.#patience.isEndless) return false;
    const isCrowded = this.#crowd.isHere(now);
    if (isCrowded !== this.#isPreferred) preferThisThread(isCrowded);
    this.#isPreferred = isCrowded;
    return isCrowded;
  }

  #breathe(now: Micros): boolean {
    let isBusy = this.#bell.takeMail();
    if (isBusy) this.#readMail(now);
    this.#bell.takeSummons(this.#summoned.length, this.#stir);
    if (this.#turns.breathe(this.#breathers, now)) isBusy = true;
    if (breatheLinks(now)) isBusy = true;
    return isBusy;
  }

  /** False when a sleep is better. */
  #nap(now: Micros): boolean {
    let packets = 0;
    for (const vrnic of this.#vrnics) packets += vrnic.packets;
    let micros = this.#naps.next(packets - this.#packetsAtRest, now - this.#restedAt);
    this.#packetsAtRest = packets;
    this.#restedAt = now;
    if (micros === 0) return false;
    for (const vrnic of this.#vrnics) micros = Math.min(micros, vrnic.pollTimeout(now) - now);
    if (micros > 0) this.#sleeper.nap(micros);
    return true;
  }

  #sleep(now: Micros, until: Micros): void {
    if (this.#settle()) {
      this.#sleeper.reset();
      this.#sleeper.add(this.#bell.fileDescriptor, false);
      let deadline = until;
      for (const vrnic of this.#vrnics) {
        const due = vrnic.isAway ? vrnic.dueAt : vrnic.watch(this.#sleeper, now);
        deadline = Math.min(deadline, due);
      }
      for (const port of this.#ports) deadline = Math.min(deadline, port.watch(this.#sleeper, now));
      if (deadline > now) {
        this.#sleeper.sleep(deadline - now);
        this.#patience.slept(clock() - now);
      }
    }
    this.#wakeUp();
  }

  /** Says to everybody that this worker sleeps, then looks once more. True when there is nothing to do. */
  #settle(): boolean {
    this.#bell.setSleeping(true);
    let isQuiet = !this.#bell.hasMail() && !this.#bell.hasSummons(this.#summoned.length);
    for (const vrnic of this.#vrnics) if (!vrnic.isAway && !vrnic.setSleeping(true)) isQuiet = false;
    for (const port of this.#ports) if (!port.setSleeping(true)) isQuiet = false;
    if (!setLinksSleeping(true)) isQuiet = false;
    return isQuiet;
  }

  #wakeUp(): void {
    this.#bell.setSleeping(false);
    this.#bell.drain();
    setLinksSleeping(false);
    for (const vrnic of this.#vrnics) {
      if (vrnic.isAway) continue;
      vrnic.setSleeping(false);
      vrnic.applications.drainWakeFds();
    }
  }

  #readMail(now: Micros): void {
    for (let mail = receiveMessageOnPort(this.#control); mail; mail = receiveMessageOnPort(this.#control)) {
      this.#handleControl(mail.message as ControlMessage, now);
    }
    for (const attachment of this.#attachments.values()) this.#readLink(attachment, now);
  }

  #readLink(attachment: Attachment, now: Micros): void {
    const { vrnic, port } = attachment;
    if (!this.#turns.admits(vrnic)) return this.#bell.announceMail();
    const begin = clock();
    let count = 0;
    for (; count < MESSAGE_COUNT_MAX; count++) {
      const mail = receiveMessageOnPort(port);
      if (!mail) break;
      vrnic.stir();
      this.#handleLink(attachment, mail.message as LinkMessage, now);
    }
    if (count === MESSAGE_COUNT_MAX) this.#bell.announceMail(); // there may be more: next breath
    if (count > 0) this.#turns.charge(vrnic, clock() - begin);
  }

  #handleLink(attachment: Attachment, message: LinkMessage, now: Micros): void {
    const { application } = attachment;
    switch (message.kind) {
      case 'open':
        return this.#open(attachment, message.program);
      case 'command':
        return application?.handleCommand(message.id, message.command, now);
      case 'close':
        this.#detach(attachment, now);
        return attachment.port.postMessage({ kind: 'closed' });
      default:
        application?.program?.handleMessage(message);
    }
  }

  #open(attachment: Attachment, program: HostedProgram | undefined): void {
    if (attachment.application) return;
    try {
      const opened = attachment.vrnic.attach(attachment.port, program);
      if (!opened) throw new Error('the vRNIC has no context left');
      attachment.application = opened.application;
      const { context } = opened.application;
      const { doorbell, slots } = opened;
      opened.application.reply({
        kind: 'opened',
        context,
        doorbell,
        slots,
        summons: attachment.vrnic.applications.summons,
      });
    } catch (error) {
      attachment.port.postMessage({ kind: 'refused', reason: (error as Error).message });
    }
  }

  #detach(attachment: Attachment, now: Micros): void {
    this.#attachments.delete(attachment.port);
    if (attachment.application) attachment.vrnic.detach(attachment.application, now);
    attachment.application = null;
  }

  #handleControl(message: ControlMessage, now: Micros): void {
    try {
      const value = this.#obey(message, now);
      this.#answer({ id: message.id, ok: true, value });
    } catch (error) {
      this.#answer({ id: message.id, ok: false, reason: error instanceof Error ? error.message : String(error) });
    }
    this.#breathers = [...this.#vrnics, ...this.#ports];
    this.#turns.hasGuarantees = this.#breathers.some(({ hasGuarantee }) => hasGuarantee);
  }

  #obey(message: ControlMessage, now: Micros): unknown {
    switch (message.kind) {
      case 'shutdown':
        this.#isStopped = true;
        return undefined;
      case 'start':
        return this.#start(message.config);
      case 'startPort':
        return this.#startPort(message.config);
      case 'stop':
        return this.#stopNamed(message.name, now);
      case 'attach':
        return this.#attach(this.#named(message.name), message.port);
      case 'statistics':
        return this.#portOrVrnic(message.name).statistics();
      case 'setGids':
        return this.#named(message.name).setGids(message.gids);
      case 'setTenant':
        return this.#portOrVrnic(message.name).setTenant(message.tenant, message.mtu);
      case 'capture':
        return this.#portOrVrnic(message.name).capture(message.target);
      case 'meet':
        return meet(message.link, message.members);
      case 'came':
        return came(message.worker, message.member);
      case 'went':
        return went(message.worker, message.member);
      case 'part':
        return part(message.worker);
    }
  }

  #portOrVrnic(wanted: string): SwitchPort | Vrnic {
    return this.#ports.find(({ name }) => name === wanted) ?? this.#named(wanted);
  }

  #named(wanted: string): Vrnic {
    const vrnic = this.#vrnics.find(({ name }) => name === wanted);
    if (!vrnic) throw new Error(`no vRNIC named ${wanted} in this worker`);
    return vrnic;
  }

  #start(config: VrnicConfig): void {
    if (this.#vrnics.some(({ name }) => name === config.name)) throw new Error(`vRNIC ${config.name} runs already`);
    this.#enter(config.namespace);
    const vrnic = openVrnic(config, this.#parts);
    this.#vrnics.push(vrnic);
    this.#giveBit(vrnic);
  }

  #giveBit(vrnic: Vrnic): void {
    const free = this.#summoned.indexOf(undefined);
    const index = free < 0 ? this.#summoned.length : free;
    if (index === SUMMONED_MAX) return;
    this.#summoned[index] = vrnic;
    vrnic.applications.summons = index;
  }

  #startPort(config: SwitchPortConfig): void {
    if (this.#ports.some(({ name }) => name === config.name)) throw new Error(`port ${config.name} runs already`);
    this.#ports.push(openSwitchPort(config));
  }

  #stopNamed(wanted: string, now: Micros): void {
    const index = this.#ports.findIndex(({ name }) => name === wanted);
    if (index < 0) return this.#stop(this.#named(wanted), now);
    this.#ports.splice(index, 1)[0]!.close();
  }

  #stop(vrnic: Vrnic, now: Micros): void {
    for (const attachment of this.#attachments.values()) {
      if (attachment.vrnic === vrnic) this.#end(attachment, now);
    }
    this.#vrnics.splice(this.#vrnics.indexOf(vrnic), 1);
    if (vrnic.applications.summons >= 0) this.#summoned[vrnic.applications.summons] = undefined;
    vrnic.close(now);
  }

  #attach(vrnic: Vrnic, port: MessagePort): void {
    const attachment: Attachment = { vrnic, port, application: null };
    this.#attachments.set(port, attachment);
    port.once('close', () => this.#detach(attachment, clock()));
    this.#bell.announceMail(); // it may have spoken already
  }

  #end(attachment: Attachment, now: Micros): void {
    this.#detach(attachment, now);
    attachment.port.close();
  }

  #answer(answer: ControlAnswer): void {
    this.#control.postMessage(answer);
  }

  #enter(namespace: string | undefined): void {
    if (namespace === this.#namespace) return;
    if (this.#vrnics.length > 0) throw new Error('vRNICs of different network namespaces cannot share a worker');
    if (namespace === undefined) throw new Error('this worker has left its first network namespace');
    enterNetworkNamespace(namespace);
    this.#namespace = namespace;
  }
}
