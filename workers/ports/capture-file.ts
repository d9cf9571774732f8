/** A pcapng file that frames are appended to, of one interface, or of one of several that share it. Blocking writes in large pieces: a tool to look with, not a data path. */
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { LINK_TYPE_ETHERNET } from '../../wire/captured-frame.ts';
import { enhancedPacket, interfaceDescription, sectionHeader } from '../../wire/pcapng.ts';

const PIECE_BYTES = 65_536;
/** A pipe that nobody reads is refused (ENXIO), and one that is full loses frames: a worker waits for neither. */
const { O_WRONLY, O_CREAT, O_TRUNC, O_APPEND, O_NONBLOCK } = constants;
const ANEW = O_WRONLY | O_CREAT | O_NONBLOCK | O_TRUNC;
const TO_ITS_END = O_WRONLY | O_CREAT | O_NONBLOCK | O_APPEND;

/** Where captured frames go. */
export interface CaptureTarget {
  readonly file: string;
  /** A file that several write to, each its own interface, and that has its headers already (`beginShared`); absent: a file of one's own. */
  readonly interfaceIndex?: number;
}

/** A new file for several interfaces, by their names; index = interfaceIndex. @throws the error of open. */
export function beginShared(file: string, names: readonly string[]): void {
  const interfaces = names.map((name) => interfaceDescription({ name, linkType: LINK_TYPE_ETHERNET }));
  const fd = openSync(file, ANEW, 0o600);
  try {
    writeSync(fd, Buffer.concat([sectionHeader(), ...interfaces]));
  } finally {
    closeSync(fd);
  }
}

export class CaptureFile {
  /** Frames that could not be written: the disk is full, the file gone. */
  lost = 0;
  readonly #linkType: number;
  readonly #interfaceIndex: number;
  #fd: number;
  #pieces: Uint8Array[] = [];
  #bytes = 0;

  /** @throws the error of open. */
  constructor({ file, interfaceIndex }: CaptureTarget, interfaceName: string, linkType = LINK_TYPE_ETHERNET) {
    this.#linkType = linkType;
    this.#interfaceIndex = interfaceIndex ?? 0;
    // Appended in one piece each: whole blocks of one writer lie between those of others.
    this.#fd = openSync(file, interfaceIndex === undefined ? ANEW : TO_ITS_END, 0o600);
    if (interfaceIndex !== undefined) return;
    this.#put(sectionHeader());
    this.#put(interfaceDescription({ name: interfaceName, linkType }));
    this.flush();
  }

  /** Takes a copy of the octets. */
  write(octets: Uint8Array): void {
    if (this.#fd < 0) return;
    const millis = performance.timeOrigin + performance.now();
    const seconds = Math.floor(millis / 1000);
    const nanos = Math.floor((millis - seconds * 1000) * 1e6);
    const originalBytes = octets.length;
    const [interfaceIndex, linkType] = [this.#interfaceIndex, this.#linkType];
    this.#put(enhancedPacket({ seconds, nanos, originalBytes, octets, interfaceIndex, linkType }));
    if (this.#bytes >= PIECE_BYTES) this.flush();
  }

  flush(): void {
    if (this.#fd < 0 || this.#bytes === 0) return;
    const piece = Buffer.concat(this.#pieces);
    const count = this.#pieces.length;
    this.#pieces = [];
    this.#bytes = 0;
    try {
      for (let at = 0; at < piece.length; ) at += writeSync(this.#fd, piece, at);
    } catch {
      this.lost += count;
      this.close(); // half a record ends the file: nothing may follow it
    }
  }

  close(): void {
    if (this.#fd < 0) return;
    this.flush();
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }

  #put(octets: Uint8Array): void {
    this.#pieces.push(octets);
    this.#bytes += octets.length;
  }
}
