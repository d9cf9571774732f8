/** A port of a tenant's switch that has no room: frames in hex on a veth pair, the clock in our hands. What finds none is counted, and what comes behind it goes its way. */
import { execFileSync } from 'node:child_process';
import t, { type Test } from 'tap';
import { macOf, type Tenant } from '../../vswitch/model.ts';
import { registerArena } from '../../wire/arena.ts';
import { addressOf } from '../../workers/linux/arena.ts';
import { inNamespace } from '../../workers/linux/interfaces.ts';
import { toGid } from '../../workers/linux/netdev.ts';
import { openSwitchPort } from '../../workers/overlay/switch-port.ts';
import { NetdevBurst, NetdevFrames, NetdevPort } from '../../workers/ports/netdev-port.ts';
import { makeVeth, whyNoNamespaces } from '../workers/veth.ts';

const VNI = 100;
const [HERE, THERE] = ['127.0.0.79', '127.0.0.80'].map(toGid) as [Uint8Array, Uint8Array];
const [MACHINE, PEER] = ['10.0.0.1', '10.0.0.2'].map(toGid) as [Uint8Array, Uint8Array];
const hexOf = (octets: Uint8Array): string => Buffer.from(octets).toString('hex');
const [OWN, FAR] = [hexOf(macOf(VNI, MACHINE)), hexOf(macOf(VNI, PEER))];
const TENANT: Tenant = {
  name: 'blue',
  vni: VNI,
  endpoints: [
    { address: MACHINE, mac: macOf(VNI, MACHINE), host: HERE, kind: 'veth' },
    { address: PEER, mac: macOf(VNI, PEER), host: THERE },
  ],
  rules: [],
};
/** who-has 10.0.0.2 tell 10.0.0.1, and its answer. */
const QUESTION = `ffffffffffff${OWN}0806 0001080006040001 ${OWN}0a000001 000000000000 0a000002`;
const ANSWER = `${OWN}${FAR}0806 0001080006040002 ${FAR}0a000002 ${OWN}0a000001`.replaceAll(' ', '');
const UDP = `${FAR}${OWN}0800 4500001c00000000 4011 0000 0a000001 0a000002 30393039 00080000`;
/** A TCP packet of 2,048 segments: 32 super-frames of a socket, of which a burst has 256. */
const SEGMENT_BYTES = 30;
const TCP_BYTES = 2048 * SEGMENT_BYTES;
const TCP_HEADERS = `${FAR}${OWN}0800 4500${(40 + TCP_BYTES).toString(16)}00000000 4006 0000 0a000001 0a000002 30393039 00000001 00000001 50100400 00000000`;
const TCP_AT = 34;
const TCP_HEADER_BYTES = 54;
const BURSTFUL = 8;
const TRIES = 100;

const octetsOf = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'));

/** A port, and the machine behind its interface. */
function bench(t: Test, name: string) {
  const veth = makeVeth(name);
  t.teardown(() => veth.remove());
  const { path: namespace, netdev } = veth.left;
  const place = { address: MACHINE, kind: 'veth', netdev, namespace, local: HERE, mtu: 1450 } as const;
  const port = openSwitchPort({ name: 'blue/v1', tenant: TENANT, ...place });
  t.teardown(() => port.close());
  const machine = inNamespace(veth.right.path, () => new NetdevPort(veth.right.netdev));
  t.teardown(() => machine.close());
  const arena = new Uint8Array(new SharedArrayBuffer(65_536));
  registerArena(arena);
  const heard = new NetdevBurst();
  registerArena(heard.bytes);
  let now = 0;
  return {
    /** @param payloadBytes zeros behind it, cut into segments. */
    send(hex: string, payloadBytes = 0): void {
      const octets = octetsOf(hex);
      arena.fill(0).set(octets);
      const frames = new NetdevFrames(1);
      if (payloadBytes === 0) frames.put(0, octets.length);
      else frames.put(0, octets.length + payloadBytes, SEGMENT_BYTES, TCP_HEADER_BYTES, TCP_AT);
      if (machine.send(addressOf(arena), frames) !== 1) throw new Error('the machine cannot send');
    },
    breathe(): void {
      now += 1000;
      port.breathe(now);
    },
    /** What the machine hears of ARP, in hex. */
    answers(): string[] {
      machine.receive(heard);
      const all = Array.from({ length: heard.count }, (_, i) =>
        hexOf(heard.bytes.subarray(heard.at[i]!, heard.at[i]! + heard.frameBytes[i]!)),
      );
      return all.filter((hex) => hex.startsWith(`${OWN}${FAR}0806`)).map((hex) => hex.slice(0, ANSWER.length));
    },
    counter: (name: string): number => port.statistics().counters[name]!,
    setLink: (state: string): void => {
      execFileSync('ip', ['-n', veth.left.namespace, 'link', 'set', netdev, state]);
    },
    left: (): number => Object.values(port.statistics().ports)[1]!.txFrames,
  };
}

t.test('a port without room', { skip: whyNoNamespaces() }, async (t) => {
  await t.test('an answer that the interface does not take is counted; the next one is given', async (t) => {
    const { send, breathe, answers, counter, setLink } = bench(t, 'answers');
    const asks = (): string[] => {
      send(QUESTION);
      for (let i = 0; i < TRIES; i++) {
        breathe();
        const found = answers();
        if (found.length > 0) return found;
      }
      return [];
    };
    t.strictSame(asks(), [ANSWER]);
    t.equal(counter('drop_no_room'), 0);
    send(QUESTION);
    setLink('down');
    for (let i = 0; i < TRIES && counter('drop_no_room') === 0; i++) breathe();
    t.equal(counter('answered'), 2, 'it had an answer');
    t.equal(counter('drop_no_room'), 1);
    setLink('up');
    t.strictSame(asks(), [ANSWER]);
    t.equal(counter('drop_no_room'), 1);
  });

  await t.test('segments beyond a burst, and a frame behind them, are counted; the next one leaves', async (t) => {
    const { send, breathe, counter, left } = bench(t, 'segments');
    // What the kernel of its namespace has to say of a new interface would take places of a burst.
    for (let i = 0; i < TRIES; i++) breathe();
    const more = 2;
    for (let i = 0; i < BURSTFUL + more; i++) send(TCP_HEADERS, TCP_BYTES);
    send(UDP);
    for (let i = 0; i < TRIES; i++) breathe();
    t.equal(counter('drop_offload'), 0);
    t.equal(counter('drop_no_room'), more + 1);
    const before = left();
    t.ok(before > 0);
    send(UDP);
    for (let i = 0; i < TRIES; i++) breathe();
    t.equal(left(), before + 1);
    t.equal(counter('drop_no_room'), more + 1);
  });
});
