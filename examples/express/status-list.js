// Revocation of JWTs by the IETF Token Status List (draft-ietf-oauth-status-list).

import { promisify } from "node:util";
import { inflate } from "node:zlib";

import { jwtVerify } from "jose";

import { ALGORITHM, findKey, ISSUER, TIMEOUT_MS, Unavailable, URL_BASE } from "./countersign.js";

const VALID = 0;
const PREFIX = `${ISSUER.replace(/\/+$/, "")}/statuslists/`;
// Limits of memory: 32 lists of at most 8,388,608 tokens each.
const MAX_LISTS = 32;
const MAX_LIST_BYTES = 1024 * 1024;
const MAX_RESPONSE_BYTES = 2 * MAX_LIST_BYTES;

const decompress = promisify(inflate);

// Lists by URI.
const cached = new Map();
const fetching = new Map();

/** Whether the `status` claim refers to the status "valid". Throws `Unavailable` if the list cannot be fetched. */
export async function isValid(status) {
  const { idx, uri } = status?.status_list ?? {};
  if (!Number.isSafeInteger(idx) || idx < 0 || listId(uri) === null) return false;
  const { bytes } = await findList(uri);
  const byte = Math.floor(idx / 8);
  return byte < bytes.length && ((bytes[byte] >> (idx % 8)) & 1) === VALID;
}

// A token must not make us fetch another host, or another route by `..`.
function listId(uri) {
  if (typeof uri !== "string" || !uri.startsWith(PREFIX)) return null;
  const id = uri.slice(PREFIX.length);
  return /^[\w-]+$/.test(id) ? id : null;
}

function findList(uri) {
  const now = Date.now();
  const list = cached.get(uri);
  // Check fetchedAt, too: a clock that is set back must not extend the lifetime of a list.
  if (list && list.fetchedAt <= now && now < list.keepUntil) return list;

  if (!fetching.has(uri)) {
    const fetched = fetchList(uri, now)
      .then((list) => keep(uri, list))
      .catch((error) => {
        throw new Unavailable(`the status list ${uri} cannot be fetched`, { cause: error });
      })
      .finally(() => fetching.delete(uri));
    fetching.set(uri, fetched);
  }
  return fetching.get(uri);
}

function keep(uri, list) {
  cached.delete(uri);
  if (cached.size >= MAX_LISTS) {
    const [oldest] = cached.keys();
    cached.delete(oldest);
  }
  cached.set(uri, list);
  return list;
}

async function fetchList(uri, now) {
  // The issuer is a name. The address of Countersign is a setting.
  const response = await fetch(`${URL_BASE}/statuslists/${listId(uri)}`, {
    headers: { accept: "application/statuslist+jwt" },
    redirect: "error",
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  const token = await readBody(response);
  if (response.status !== 200) throw new Error(`the response is ${response.status}`);

  const { payload } = await jwtVerify(token, findKey, {
    algorithms: [ALGORITHM],
    typ: "statuslist+jwt",
    subject: uri,
    requiredClaims: ["iat", "exp", "ttl", "status_list"],
  });
  const { exp, ttl, status_list: list } = payload;
  if (typeof ttl !== "number" || ttl <= 0) throw new Error("ttl is not a positive number");
  if (list?.bits !== 1 || typeof list.lst !== "string") throw new Error("the list does not have one bit per token");
  const bytes = await decompress(Buffer.from(list.lst, "base64url"), { maxOutputLength: MAX_LIST_BYTES });
  return { bytes, fetchedAt: now, keepUntil: Math.min(now + ttl * 1_000, exp * 1_000) };
}

async function readBody(response) {
  const chunks = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > MAX_RESPONSE_BYTES) throw new Error("the response is too long");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}
