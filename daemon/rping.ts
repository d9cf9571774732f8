/**
 * rping of librdmacm, either side: the client says by SEND where its text lies, the server READs it, is told where to put it and WRITEs it back. Each message is
 * `struct rping_rdma_info`: u64 address, u32 R_Key, u32 octets, all big endian.
 */
import {
  Access,
  type CmAddress,
  type CmId,
  type Context,
  type Cq,
  type EventChannel,
  type Mr,
  type Pd,
  PortSpace,
  type Qp,
  SendFlag,
  type WorkCompletion,
  WrOpcode,
} from '../verbs/index.ts';

export interface RpingOptions {
  /** The server's address; for a server, where it listens. */
  readonly address: CmAddress;
  /** Messages; 0: until the client ends. */
  readonly count: number;
  /** Octets of a message. */
  readonly size: number;
  /** Compare what came back. */
  readonly validate: boolean;
  /** Called with each text. */
  readonly onPing: (text: string) => void;
}

const INFO_BYTES = 16;
/** Places in the registered memory: info that comes, info that goes; then the text, and where it comes back. */
const RECV_AT = 0;
const SEND_AT = 16;
const TEXT_AT = 4096;
const FIRST_LETTER = 65;
const LAST_LETTER = 122;

/** The text of one ping, as rping makes it: a number, then letters that move on by one each time. */
function pingText(ping: number, size: number): Uint8Array {
  const text = new Uint8Array(size);
  const head = Buffer.from(`rdma-ping-${ping}: `).subarray(0, size);
  text.set(head);
  const letters = LAST_LETTER - FIRST_LETTER + 1;
  for (let i = head.length; i < size; i++) text[i] = FIRST_LETTER + ((ping + i - head.length) % letters);
  text[size - 1] = 0;
  return text;
}

/** One connection's queue pair and memory. */
class Connection {
  readonly id: CmId;
  readonly size: number;
  readonly #pd: Pd;
  readonly #cq: Cq;
  readonly #qp: Qp;
  readonly #mr: Mr;
  readonly #found: WorkCompletion[] = [];

  private constructor(id: CmId, size: number, pd: Pd, cq: Cq, qp: Qp, mr: Mr) {
    this.id = id;
    this.size = size;
    this.#pd = pd;
    this.#cq = cq;
    this.#qp = qp;
    this.#mr = mr;
  }

  static async create(context: Context, id: CmId, size: number): Promise<Connection> {
    const pd = await context.allocPd();
    const cq = await context.createCq(32, await context.createCompChannel());
    const rights = Access.LOCAL_WRITE | Access.REMOTE_READ | Access.REMOTE_WRITE;
    const mr = await pd.regMr(new SharedArrayBuffer(TEXT_AT + 2 * size), rights);
    const qp = await id.createQp(pd, { sendCq: cq, recvCq: cq });
    const connection = new Connection(id, size, pd, cq, qp, mr);
    connection.#receive();
    return connection;
  }

  text(which: 0 | 1): Uint8Array {
    return this.#mr.bytes.subarray(TEXT_AT + which * this.size, TEXT_AT + (which + 1) * this.size);
  }

  /** Tells the other side of our memory, or (a server) only that it is its turn. */
  async tell(which: 0 | 1): Promise<void> {
    const view = this.#view();
    view.setBigUint64(SEND_AT, this.#mr.addr + BigInt(TEXT_AT + which * this.size));
    view.setUint32(SEND_AT + 8, this.#mr.rKey);
    view.setUint32(SEND_AT + 12, this.size);
    await this.#do(WrOpcode.SEND, SEND_AT, INFO_BYTES);
  }

  /** The other side's turn has come to its end; where its memory is. */
  async hear(): Promise<{ address: bigint; rKey: number; length: number }> {
    await this.#complete(RECV_ID);
    const view = this.#view();
    const info = {
      address: view.getBigUint64(RECV_AT),
      rKey: view.getUint32(RECV_AT + 8),
      length: view.getUint32(RECV_AT + 12),
    };
    this.#receive();
    return info;
  }

  read(remote: { address: bigint; rKey: number; length: number }): Promise<void> {
    return this.#do(WrOpcode.RDMA_READ, TEXT_AT, Math.min(remote.length, this.size), remote);
  }

  write(remote: { address: bigint; rKey: number; length: number }): Promise<void> {
    return this.#do(WrOpcode.RDMA_WRITE, TEXT_AT, Math.min(remote.length, this.size), remote);
  }

  async close(): Promise<void> {
    await this.#qp.destroy();
    await this.#cq.destroy();
    await this.#mr.dereg();
    await this.#pd.dealloc();
  }

  #view(): DataView {
    const { buffer, byteOffset, byteLength } = this.#mr.bytes;
    return new DataView(buffer, byteOffset, byteLength);
  }

  #receive(): void {
    this.#qp.postRecv({ wrId: RECV_ID, sgList: [{ mr: this.#mr, offset: RECV_AT, length: INFO_BYTES }] });
  }

  async #do(
    opcode: WrOpcode,
    offset: number,
    length: number,
    remote?: { address: bigint; rKey: number },
  ): Promise<void> {
    const sgList = [{ mr: this.#mr, offset, length }];
    const to = remote && { remoteAddr: remote.address, rKey: remote.rKey };
    this.#qp.postSend({ wrId: SEND_ID, opcode, sendFlags: SendFlag.SIGNALED, sgList, ...to });
    await this.#complete(SEND_ID);
  }

  /** Waits for the next completion of that kind. */
  async #complete(wrId: number): Promise<void> {
    for (;;) {
      const at = this.#found.findIndex(({ wrIdLo }) => wrIdLo === wrId);
      const [completion] = at < 0 ? [] : this.#found.splice(at, 1);
      if (completion?.isSuccess) return;
      if (completion) throw new Error(`cq completion failed: ${completion.statusName}`);
      this.#found.push(...(await this.#cq.next()));
    }
  }
}

const RECV_ID = 1;
const SEND_ID = 2;

/** Pings `count` times. @throws Error when something fails, or what came back is not what was sent. */
export async function rpingClient(context: Context, options: RpingOptions): Promise<void> {
  const { address, count, size, validate, onPing } = options;
  const channel = context.createEventChannel();
  const id = await channel.createId(PortSpace.TCP);
  await id.resolveAddr(address);
  await id.resolveRoute();
  const connection = await Connection.create(context, id, size);
  await id.connect({ responderResources: 1, initiatorDepth: 1 });
  for (let ping = 0; count === 0 || ping < count; ping++) {
    const text = pingText(ping, size);
    connection.text(0).set(text);
    await connection.tell(0);
    await connection.hear();
    await connection.tell(1);
    await connection.hear();
    if (validate && !Buffer.from(connection.text(1)).equals(text)) throw new Error(`data mismatch in ping ${ping}`);
    onPing(`ping data: ${printable(connection.text(1))}`);
  }
  await id.disconnect();
  await channel.getCmEvent();
  await connection.close();
  await channel.destroy();
}

/** Serves one client until it leaves. */
export async function rpingServer(context: Context, options: RpingOptions): Promise<void> {
  const { address, size, onPing } = options;
  const channel = context.createEventChannel();
  const listening = await channel.createId(PortSpace.TCP);
  await listening.bindAddr(address);
  await listening.listen(3);
  const { id } = await channel.getCmEvent();
  const connection = await Connection.create(context, id, size);
  await id.accept({ responderResources: 1, initiatorDepth: 1 });
  const gone = untilGone(channel);
  const serving = serve(connection, onPing);
  await Promise.race([gone, serving]);
  serving.catch(() => {}); // its QP flushes when the client leaves
  await id.disconnect().catch(() => {});
  await connection.close();
  await channel.destroy();
}

async function untilGone(channel: EventChannel): Promise<void> {
  while ((await channel.getCmEvent()).name !== 'DISCONNECTED');
}

async function serve(connection: Connection, onPing: (text: string) => void): Promise<void> {
  for (;;) {
    const source = await connection.hear();
    await connection.read(source);
    onPing(`server ping data: ${printable(connection.text(0))}`);
    await connection.tell(0);
    const sink = await connection.hear();
    await connection.write(sink);
    await connection.tell(0);
  }
}

const printable = (text: Uint8Array): string => Buffer.from(text).toString('latin1').replace(/\0.*$/s, '');
