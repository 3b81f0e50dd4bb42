// The settings of Countersign, and its public keys.

import { createRemoteJWKSet, errors } from "jose";

const OFFLINE_ALGORITHMS = ["ES256", "EdDSA", "RS256"];

const env = process.env;
export const URL_BASE = (env.COUNTERSIGN_URL ?? "http://localhost:5000").replace(/\/+$/, "");
export const ISSUER = env.COUNTERSIGN_ISSUER ?? "http://localhost:5000";
export const AUDIENCE = env.COUNTERSIGN_AUDIENCE ?? "countersign";
export const ALGORITHM = env.COUNTERSIGN_ALGORITHM ?? "ES256";
export const TIMEOUT_MS = 3_000;

if (!OFFLINE_ALGORITHMS.includes(ALGORITHM)) {
  // HS256 has no public key: a service that could verify a token could also sign one.
  throw new Error(`COUNTERSIGN_ALGORITHM must be one of ${OFFLINE_ALGORITHMS.join(", ")}.`);
}

/** A token cannot be checked at the moment. The request is refused with a 503, since the token may be valid. */
export class Unavailable extends Error {}

const jwks = createRemoteJWKSet(new URL(`${URL_BASE}/.well-known/jwks.json`), {
  timeoutDuration: TIMEOUT_MS,
  // The `max-age` of the key set.
  cacheMaxAge: 5 * 60 * 1_000,
  // The longest time for which a token of a new key is refused. Forged key ids cause one fetch in this time at most.
  cooldownDuration: 1_000,
});

/** Finds the key with the `kid` of a JWT. */
export async function findKey(header, token) {
  // Without a kid, jose would accept any key.
  if (typeof header.kid !== "string") throw new errors.JWKSNoMatchingKey();
  try {
    return await jwks(header, token);
  } catch (error) {
    if (error instanceof errors.JWKSNoMatchingKey) throw error;
    throw new Unavailable("the keys cannot be fetched", { cause: error });
  }
}
