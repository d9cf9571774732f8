/** Octets that come in pieces and are taken in others: the front of an incremental reader. */
export class ByteQueue {
  #octets = new Uint8Array(0);
  #start = 0;
  #end = 0;
  #taken = 0;

  /** Octets waiting. */
  get length(): number {
    return this.#end - this.#start;
  }

  /** Octets taken so far: the offset in the file of the next one. */
  get offset(): number {
    return this.#taken;
  }

  push(octets: Uint8Array): void {
    if (this.#end + octets.length > this.#octets.length) this.#makeRoom(octets.length);
    this.#octets.set(octets, this.#end);
    this.#end += octets.length;
  }

  /** A view of the next `bytes` octets, good until the next push. */
  peek(bytes: number): DataView {
    return new DataView(this.#octets.buffer, this.#start, bytes);
  }

  /** A copy of `bytes` octets, `skip` octets ahead. */
  copy(skip: number, bytes: number): Uint8Array<ArrayBuffer> {
    return this.#octets.slice(this.#start + skip, this.#start + skip + bytes);
  }

  drop(bytes: number): void {
    this.#start += bytes;
    this.#taken += bytes;
  }

  #makeRoom(bytes: number): void {
    const waiting = this.length;
    const room = new Uint8Array(Math.max(2 * waiting, waiting + bytes, 65_536));
    room.set(this.#octets.subarray(this.#start, this.#end));
    this.#octets = room;
    this.#start = 0;
    this.#end = waiting;
  }
}
