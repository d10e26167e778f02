-- What Argo CD offers to do with a ProgrammaticUser.

local rests = obj.metadata.deletionTimestamp ~= nil or obj.spec.suspend == true
local has_token = obj.status ~= nil and obj.status.userId ~= nil

local actions = {}
actions["rotate"] = { ["disabled"] = rests or not has_token, ["displayName"] = "Rotate the token" }
return actions
