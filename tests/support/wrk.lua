-- The requests of one load. Arguments: the file with the tokens, one per line, or "-" for none;
-- and "close" for a connection per request.
--
-- With several tokens, each thread of wrk sends its own share of them in turn, so that no two
-- threads send the same token.

local threads = tonumber(os.getenv("WRK_THREADS"))
local started = 0

function setup(thread)
    thread:set("index", started)
    started = started + 1
end

function init(args)
    if args[2] == "close" then
        wrk.headers["Connection"] = "close"
    end
    if args[1] == "-" then
        return
    end
    local all = {}
    for token in io.lines(args[1]) do
        all[#all + 1] = token
    end
    if #all == 1 then
        -- wrk repeats the same bytes without calling Lua.
        wrk.headers["Authorization"] = "Bearer " .. all[1]
        return
    end
    local first = math.floor(#all * index / threads)
    local last = math.floor(#all * (index + 1) / threads)
    local requests = {}
    for number = first + 1, last do
        wrk.headers["Authorization"] = "Bearer " .. all[number]
        requests[#requests + 1] = wrk.format()
    end
    local count, at = #requests, 0
    function request()
        at = at % count + 1
        return requests[at]
    end
end

-- One line for the driver: microseconds, requests, bytes, p50 and p99 in microseconds, errors.
function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        "summary %d %d %d %d %d %d %d %d %d %d\n",
        summary.duration, summary.requests, summary.bytes,
        latency:percentile(50), latency:percentile(99),
        errors.status, errors.connect, errors.read, errors.write, errors.timeout
    ))
end
