-- Each request shows the next credential of a file, which has the value of an Authorization header on each line.

require "report"

function init(args)
   requests, prepared, sent = {}, 0, 0
   for line in io.lines(args[1]) do
      prepared = prepared + 1
      requests[prepared] = wrk.format("GET", nil, {["Authorization"] = line})
   end
end

function request()
   sent = sent + 1
   return requests[(sent - 1) % prepared + 1]
end
