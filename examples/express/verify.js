// Middleware that authenticates the caller by a JWT of Countersign.

import { errors, jwtVerify } from "jose";

import { ALGORITHM, AUDIENCE, findKey, ISSUER, Unavailable } from "./countersign.js";
import { isValid } from "./status-list.js";

// The tolerated difference of clocks: without it a new token could seem to be from the future.
const CLOCK_SKEW_SECONDS = 5;
const RETRY_AFTER_SECONDS = 1;

class InvalidToken extends Error {}

/** Middleware that requires a user, with this role and this scope if given, and sets `req.user`. */
export function requireUser({ role, scope } = {}) {
  return async (req, res, next) => {
    const credentials = req.headersDistinct.authorization ?? [];
    // Node would use the first one, but a proxy before it might use the last.
    if (credentials.length > 1) {
      return res.status(400).json({ error: "There is more than one Authorization header." });
    }
    const bearer = /^bearer(?: +(.*))?$/i.exec(credentials[0] ?? "");
    if (!bearer) {
      res.set("WWW-Authenticate", 'Bearer realm="hello"');
      return res.status(401).json({ error: "A bearer token is needed." });
    }

    try {
      req.user = await verifyToken(bearer[1] ?? "");
    } catch (error) {
      if (error instanceof Unavailable) {
        console.error(`${error.message}: ${error.cause?.message}`);
        res.set("Retry-After", String(RETRY_AFTER_SECONDS));
        return res.status(503).json({ error: "Whether the token is valid cannot be checked now." });
      }
      if (error instanceof InvalidToken || error instanceof errors.JOSEError) {
        res.set("WWW-Authenticate", 'Bearer error="invalid_token"');
        return res.status(401).json({ error: "The token is not valid, or no longer." });
      }
      throw error;
    }

    if ((role && !req.user.roles.includes(role)) || (scope && !req.user.scopes.includes(scope))) {
      res.set("WWW-Authenticate", `Bearer error="insufficient_scope"${scope ? `, scope="${scope}"` : ""}`);
      return res.status(403).json({ error: "You do not have the role or the scope for this." });
    }
    next();
  };
}

async function verifyToken(token) {
  const { payload } = await jwtVerify(token, findKey, {
    algorithms: [ALGORITHM],
    typ: "at+jwt",
    issuer: ISSUER,
    audience: AUDIENCE,
    requiredClaims: ["exp", "iat", "nbf", "sub", "sid", "jti"],
    clockTolerance: CLOCK_SKEW_SECONDS,
  });
  // jose applies the tolerance to exp, too. The expiry should be exact.
  if (payload.exp <= Date.now() / 1_000) throw new InvalidToken();
  if (![payload.sub, payload.sid, payload.jti].every(isNonEmpty)) throw new InvalidToken();
  if (!(await isValid(payload.status))) throw new InvalidToken();
  return {
    id: payload.sub,
    name: payload.name,
    roles: Array.isArray(payload.roles) ? payload.roles : [],
    scopes: typeof payload.scope === "string" ? payload.scope.split(" ") : [],
  };
}

function isNonEmpty(value) {
  return typeof value === "string" && value !== "";
}
