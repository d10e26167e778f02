-- Asks for a new token. The old one stays valid for the overlap of spec.rotation.

local os = require("os")
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["programmatic-users.io/rotate-at"] = os.date("!%Y-%m-%dT%XZ")
return obj
