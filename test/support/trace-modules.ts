/** `node --import` of this appends the URL of every module that the program imports to the file that MODULE_TRACE names. It is its own loader hook. */
import { appendFileSync } from 'node:fs';
import { type ResolveHook, register } from 'node:module';
import { isMainThread } from 'node:worker_threads';

if (isMainThread) register(import.meta.url);

export const resolve: ResolveHook = async (specifier, context, next) => {
  const found = await next(specifier, context);
  appendFileSync(process.env.MODULE_TRACE!, `${found.url}\n`);
  return found;
};
