/** A pcapng file that frames are appended to, of one interface. Blocking writes in large pieces: a tool to look with, not a data path. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { LINK_TYPE_ETHERNET } from '../../wire/captured-frame.ts';
import { enhancedPacket, interfaceDescription, sectionHeader } from '../../wire/pcapng.ts';

/** LINKTYPE_RAW: the frame begins with its IP header. */
export const LINK_TYPE_IP = 101;
const PIECE_BYTES = 65_536;

export class CaptureFile {
  /** Frames that could not be written: the disk is full, the file gone. */
  lost = 0;
  readonly #linkType: number;
  #fd: number;
  #pieces: Uint8Array[] = [];
  #bytes = 0;

  /** @throws the error of open. */
  constructor(file: string, interfaceName: string, linkType = LINK_TYPE_ETHERNET) {
    this.#linkType = linkType;
    this.#fd = openSync(file, 'w', 0o600);
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
    this.#put(enhancedPacket({ seconds, nanos, originalBytes, octets, interfaceIndex: 0, linkType: this.#linkType }));
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
