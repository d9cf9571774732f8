/** The engine and the memory that vRNICs are made of, wherever they run. */
import { SharedMemory } from '../rnic/memory/shared-memory.ts';
import { Rnic } from '../rnic/rnic.ts';
import type { EngineParts } from './engine.ts';

export const ENGINE_PARTS: EngineParts = {
  newEngine: (config, host) => new Rnic(config, host),
  newMemory: (buffer, byteOffset) => new SharedMemory(buffer, byteOffset),
};
