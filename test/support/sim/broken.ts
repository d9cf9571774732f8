/** What a simulation throws when a promise was broken. */
export class Broken extends Error {}
