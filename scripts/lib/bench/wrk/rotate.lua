-- Exchanges opaque tokens: each answer holds the token that a later request shows. The file has a token on each line,
-- and more of them than there are connections.

require "report"

function init(args)
   tokens, first, last, sent = {}, 1, 0, 0
   for line in io.lines(args[1]) do
      last = last + 1
      tokens[last] = line
   end
end

function request()
   sent = sent + 1
   local token = tokens[first]
   tokens[first] = nil
   first = first + 1
   return wrk.format("POST", nil, {["Authorization"] = "Bearer " .. token})
end

function response(status, headers, body)
   last = last + 1
   tokens[last] = body:match('"opaque_token":"([^"]+)"')
end
