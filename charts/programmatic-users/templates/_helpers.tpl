{{- define "pu.name" -}}
{{- $name := .Release.Name }}
{{- if not (contains "programmatic-users" $name) }}{{ $name = printf "%s-programmatic-users" $name }}{{ end }}
{{- /* The name of a Service starts with a letter. */}}
{{- if regexMatch "^[0-9]" $name }}{{ $name = printf "pu-%s" $name }}{{ end }}
{{- $name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "pu.labels" -}}
app.kubernetes.io/name: programmatic-users
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "pu.selector" -}}
app.kubernetes.io/name: programmatic-users
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "pu.image" -}}
{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "pu.user" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "pu.name" . }}
{{- end }}

{{- define "pu.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "pu.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* YAML takes an unquoted off for false. */}}
{{- define "pu.consumers" -}}
{{ .Values.consumers | default "off" }}
{{- end }}

{{/* Namespaces of mode strict: without any, the operator's own. */}}
{{- define "pu.namespaces" -}}
{{ .Values.rbac.namespaces | default (list .Release.Namespace) | toJson }}
{{- end }}

{{- define "pu.binding" }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .name }}
  labels: {{- .labels }}
spec:
  policyName: {{ .name }}
  validationActions: [Deny, Audit]
{{- end }}

{{- define "pu.subjects" -}}
subjects:
  - {kind: ServiceAccount, name: {{ include "pu.name" . }}, namespace: {{ .Release.Namespace | quote }}}
{{- end }}
