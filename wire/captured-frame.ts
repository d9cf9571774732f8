/** What a capture holds, whichever kind of file it is. */

/** LINKTYPE_ETHERNET. */
export const LINK_TYPE_ETHERNET = 1;
/** Octets of the longest frame that is read or written: what tcpdump's longest snapshot holds. */
export const FRAME_BYTES_MAX = 262_144;

/** A frame as a capture holds it. */
export interface CapturedFrame {
  /** Seconds since 1970, and nanoseconds of the second. */
  readonly seconds: number;
  readonly nanos: number;
  /** Octets that were on the wire; `octets` is shorter when the snapshot length cut it. */
  readonly originalBytes: number;
  readonly octets: Uint8Array;
  /** Which interface, counted in its section (always 0 in a pcap), and of what link type. */
  readonly interfaceIndex: number;
  readonly linkType: number;
}

/** Reads a capture as its octets come: push what there is, take frames until there is none, and say when there is no more. */
export interface CaptureReader {
  push(octets: Uint8Array): void;
  /** The next whole frame, or undefined until more octets come. Throws CaptureError on octets that are no capture. */
  next(): CapturedFrame | undefined;
  /** Throws CaptureError when the capture stops in the middle of something. */
  end(): void;
}
