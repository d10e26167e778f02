-- Health of a ProgrammaticUser or an Organization for Argo CD.
--
-- Healthy      the spec is carried out; also while a token is being replaced, because the one in the Secret works
-- Progressing  the operator is at it, or tries again by itself; or has not seen the object as it is now
-- Degraded     nothing will change until you act; the message says how
-- Suspended    spec.suspend is true

local conditions = {}
if obj.status ~= nil and obj.status.conditions ~= nil then
  for _, condition in ipairs(obj.status.conditions) do
    conditions[condition.type] = condition
  end
end

local function is(kind)
  return conditions[kind] ~= nil and conditions[kind].status == "True"
end

local function message(kind, otherwise)
  if conditions[kind] ~= nil and conditions[kind].message ~= nil then
    return conditions[kind].message
  end
  return otherwise
end

if obj.metadata.deletionTimestamp ~= nil then
  local why = "it is being deleted"
  if is("DeletionBlocked") then
    why = why .. ": " .. message("DeletionBlocked", "")
  elseif is("Stalled") then
    why = why .. ": " .. message("Stalled", "")
  elseif is("Reconciling") then
    why = why .. ": " .. message("Reconciling", "")
  end
  return { status = "Progressing", message = why }
end

if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "the operator has not seen it as it is now" }
end

if is("Suspended") then
  return { status = "Suspended", message = message("Suspended", "") }
end

if is("Stalled") then
  return { status = "Degraded", message = message("Stalled", "") }
end

if is("Ready") then
  local text = message("Ready", "")
  for _, kind in ipairs({ "Rotating", "RestartingConsumers", "WaitingForConsumers", "HistoryRewound", "OrphansFound" }) do
    if is(kind) then
      text = text .. "; " .. message(kind, "")
    end
  end
  return { status = "Healthy", message = text }
end

return { status = "Progressing", message = message("Reconciling", message("Ready", "the operator is at it")) }
