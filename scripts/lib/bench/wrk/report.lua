-- Prints what came of a run as one line of JSON. It changes nothing of the requests; the other scripts take it in.

local threads = {}

function setup(thread)
   table.insert(threads, thread)
end

function done(summary, latency)
   local sent, prepared = 0, 0
   for _, thread in ipairs(threads) do
      sent = sent + (thread:get("sent") or 0)
      prepared = prepared + (thread:get("prepared") or 0)
   end
   local errors = summary.errors
   io.write(string.format(
      '\nRESULT {"requests": %d, "microseconds": %d, "connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d, '
         .. '"least": %d, "p50": %d, "p90": %d, "p99": %d, "p99.9": %d, "most": %d, "sent": %d, "prepared": %d}\n',
      summary.requests, summary.duration, errors.connect, errors.read, errors.write, errors.timeout, errors.status,
      latency.min, latency:percentile(50), latency:percentile(90), latency:percentile(99), latency:percentile(99.9),
      latency.max, sent, prepared))
end
