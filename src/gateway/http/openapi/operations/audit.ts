import { AuditedUse, AuditList, AuditQuery, ReportSecretUse } from "../../../../protocol/audit.js";
import type { Theme } from "../operation.js";

export const audit: Theme = {
  name: "Audit",
  description: "Who used which secret for what. Values are nowhere in it.",
  operations: [
    {
      id: "listSecretUses",
      method: "get",
      path: "/v2/audit",
      summary: "The account's uses of secrets, newest first",
      scope: "read",
      query: AuditQuery,
      answers: { 200: { what: "A page of them.", json: AuditList } },
    },
    {
      id: "reportSecretUse",
      method: "post",
      path: "/v2/audit/secret-uses",
      summary: "Put on the record that an agent was handed a secret's value",
      description: "The use of a secret by a run is recorded by itself.",
      scope: "run",
      body: { json: ReportSecretUse },
      answers: { 201: { what: "The row.", json: AuditedUse } },
    },
  ],
};
