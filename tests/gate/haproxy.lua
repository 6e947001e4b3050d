-- The action lua.gate: asks postern whether a request may pass. If so, it sets txn.gate_passed and
-- the X-Auth headers; if not, it answers as postern does. haproxy.cfg denies what has not passed.

-- Where haproxy.cfg relays to postern.
local gate = "http://127.0.0.1:8081"

local told = { "x-auth-subject", "x-auth-permissions", "x-auth-client" }
local kept = { "www-authenticate", "retry-after", "content-type", "cache-control" }

-- The values of a header. HAProxy counts them from 0.
local function values(headers, name)
    local list = {}
    for at = 0, #(headers[name] or {}) do
        list[#list + 1] = headers[name] and headers[name][at]
    end
    return list
end

local function ask(txn)
    local headers = txn.http:req_get_headers()
    local client = values(headers, "x-forwarded-for")
    client[#client + 1] = txn.f:src()
    return core.httpclient():get {
        url = gate .. txn:get_var("txn.gate"),
        headers = {
            ["host"] = { "postern" },
            -- All of them, so that postern refuses several.
            ["authorization"] = values(headers, "authorization"),
            ["x-forwarded-for"] = client,
            ["x-forwarded-method"] = { txn.f:method() },
            ["x-forwarded-host"] = { values(headers, "host")[1] or "" },
            ["x-forwarded-uri"] = { txn.f:path() },
        },
        timeout = 5000,
    }
end

core.register_action("gate", { "http-req" }, function(txn)
    local response = ask(txn)
    if response.status == 200 then
        local fits = true
        for _, name in ipairs(told) do
            local value = values(response.headers, name)[1] or ""
            txn.http:req_set_header(name, value)
            -- Without room for it, HAProxy would silently leave it out.
            fits = fits and values(txn.http:req_get_headers(), name)[1] == value
        end
        txn:set_var("txn.gate_passed", fits)
        return
    end
    local refused = { [400] = true, [401] = true, [403] = true, [503] = true }
    local reply = txn:reply()
    reply:set_status(refused[response.status] and response.status or 503)
    for _, name in ipairs(kept) do
        for _, value in ipairs(values(response.headers or {}, name)) do
            reply:add_header(name, value)
        end
    end
    reply:set_body(response.body or "")
    txn:done(reply)
end)
