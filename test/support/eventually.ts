/** Waits for a condition instead of a time: machines differ. */
const RETRY_MILLIS = 100;

/** Whether `holds` became true in time. */
export async function eventually(holds: () => Promise<boolean> | boolean, timeoutMillis = 30_000): Promise<boolean> {
  for (const deadline = Date.now() + timeoutMillis; Date.now() < deadline; ) {
    if (await holds()) return true;
    await new Promise((resolve) => setTimeout(resolve, RETRY_MILLIS));
  }
  return holds();
}
