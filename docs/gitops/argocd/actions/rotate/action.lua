-- Asks for a new token. The old one stays valid for the overlap of spec.rotation.

local os = require("os")
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
-- A second time within one second asks for another token, too.
local value = os.date("!%Y-%m-%dT%XZ")
if obj.metadata.annotations["programmatic-users.io/rotate-at"] == value then
  value = value .. "+"
end
obj.metadata.annotations["programmatic-users.io/rotate-at"] = value
return obj
