// Where Countersign is, what its tokens must say, and its public keys.

import { createRemoteJWKSet, errors } from "jose";

const OFFLINE_ALGORITHMS = ["ES256", "EdDSA", "RS256"];

const env = process.env;
export const URL_BASE = (env.COUNTERSIGN_URL ?? "http://localhost:5000").replace(/\/+$/, "");
export const ISSUER = env.COUNTERSIGN_ISSUER ?? "http://localhost:5000";
export const AUDIENCE = env.COUNTERSIGN_AUDIENCE ?? "countersign";
export const ALGORITHM = env.COUNTERSIGN_ALGORITHM ?? "ES256";
export const TIMEOUT_MS = 3_000;

if (!OFFLINE_ALGORITHMS.includes(ALGORITHM)) {
  // HS256 has no public key: whoever could check a token could make one.
  throw new Error(`COUNTERSIGN_ALGORITHM must be one of ${OFFLINE_ALGORITHMS.join(", ")}.`);
}

/** Whether a token is good cannot be told now. Nobody is let in, and nobody is told that their token is bad. */
export class Unavailable extends Error {}

const jwks = createRemoteJWKSet(new URL(`${URL_BASE}/.well-known/jwks.json`), {
  timeoutDuration: TIMEOUT_MS,
  // As long as Countersign says they may be kept.
  cacheMaxAge: 5 * 60 * 1_000,
  // A token of a new key is refused for no longer than this, and made-up key ids cause no more than one fetch in it.
  cooldownDuration: 1_000,
});

/** The key that a JWT names. */
export async function findKey(header, token) {
  // Without a kid any key would do.
  if (typeof header.kid !== "string") throw new errors.JWKSNoMatchingKey();
  try {
    return await jwks(header, token);
  } catch (error) {
    if (error instanceof errors.JWKSNoMatchingKey) throw error;
    throw new Unavailable("the keys cannot be had", { cause: error });
  }
}
