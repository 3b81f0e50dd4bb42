// Which JWTs are revoked: the IETF Token Status List (draft-ietf-oauth-status-list).

import { promisify } from "node:util";
import { inflate } from "node:zlib";

import { jwtVerify } from "jose";

import { ALGORITHM, findKey, ISSUER, TIMEOUT_MS, Unavailable, URL_BASE } from "./countersign.js";

const VALID = 0;
const PREFIX = `${ISSUER.replace(/\/+$/, "")}/statuslists/`;
// The bounds of memory: 32 lists of at most 8,388,608 tokens each.
const MAX_LISTS = 32;
const MAX_LIST_BYTES = 1024 * 1024;
const MAX_ANSWER_BYTES = 2 * MAX_LIST_BYTES;

const decompress = promisify(inflate);

// By uri.
const kept = new Map();
const fetching = new Map();

/** Whether the `status` claim points to the status "valid". Throws `Unavailable` when the list cannot be had. */
export async function isValid(status) {
  const { idx, uri } = status?.status_list ?? {};
  if (!Number.isSafeInteger(idx) || idx < 0 || listId(uri) === null) return false;
  const { bytes } = await findList(uri);
  const byte = Math.floor(idx / 8);
  return byte < bytes.length && ((bytes[byte] >> (idx % 8)) & 1) === VALID;
}

// A token must not send us to any other place, nor, by `..`, to another route.
function listId(uri) {
  if (typeof uri !== "string" || !uri.startsWith(PREFIX)) return null;
  const id = uri.slice(PREFIX.length);
  return /^[\w-]+$/.test(id) ? id : null;
}

function findList(uri) {
  const now = Date.now();
  const list = kept.get(uri);
  // The first half: a clock that is set back must not lengthen a list's time.
  if (list && list.fetchedAt <= now && now < list.keepUntil) return list;

  if (!fetching.has(uri)) {
    const fetched = fetchList(uri, now)
      .then((list) => keep(uri, list))
      .catch((error) => {
        throw new Unavailable(`the status list ${uri} cannot be had`, { cause: error });
      })
      .finally(() => fetching.delete(uri));
    fetching.set(uri, fetched);
  }
  return fetching.get(uri);
}

function keep(uri, list) {
  kept.delete(uri);
  if (kept.size >= MAX_LISTS) {
    const [oldest] = kept.keys();
    kept.delete(oldest);
  }
  kept.set(uri, list);
  return list;
}

async function fetchList(uri, now) {
  // The issuer is a name; where Countersign is reached, our own settings say.
  const response = await fetch(`${URL_BASE}/statuslists/${listId(uri)}`, {
    headers: { accept: "application/statuslist+jwt" },
    redirect: "error",
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  const token = await readBody(response);
  if (response.status !== 200) throw new Error(`the answer is ${response.status}`);

  const { payload } = await jwtVerify(token, findKey, {
    algorithms: [ALGORITHM],
    typ: "statuslist+jwt",
    subject: uri,
    requiredClaims: ["iat", "exp", "ttl", "status_list"],
  });
  const { exp, ttl, status_list: list } = payload;
  if (typeof ttl !== "number" || ttl <= 0) throw new Error("ttl is not a time");
  if (list?.bits !== 1 || typeof list.lst !== "string") throw new Error("this is no list of single bits");
  const bytes = await decompress(Buffer.from(list.lst, "base64url"), { maxOutputLength: MAX_LIST_BYTES });
  return { bytes, fetchedAt: now, keepUntil: Math.min(now + ttl * 1_000, exp * 1_000) };
}

async function readBody(response) {
  const chunks = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > MAX_ANSWER_BYTES) throw new Error("the answer is too long");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}
