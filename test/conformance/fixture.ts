import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import {
  acceptedContent,
  type CallToolResult,
  CLIENT_CAPABILITIES_META_KEY,
  type ClientCapabilities,
  completable,
  createRequestStateCodec,
  fromJsonSchema,
  inputRequired,
  inputResponse,
  McpServer,
  ResourceTemplate,
  type ServerContext,
  type ServerNotifier,
} from "@modelcontextprotocol/server";
import { z } from "zod";

/** One red pixel. */
const PNG =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg==";
/** Four silent samples of 8 bits at 8 kHz. */
const WAV = "UklGRigAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQQAAACAgICA";

/** What may travel through a client and come back, signed by this process. */
const state = createRequestStateCodec<Record<string, unknown>>({ key: randomBytes(32) });

/**
 * The server whose tools, resources and prompts the official conformance suite asks for by name. What it tests is what
 * carries them: our `McpEndpoint`, behind our gateway. `notify` reaches clients that listen for changed lists.
 */
export function createFixture(notify: () => ServerNotifier): McpServer {
  const server = new McpServer(
    { name: "cerver-conformance", version: "1.0.0" },
    {
      capabilities: {
        tools: { listChanged: true },
        resources: { listChanged: true, subscribe: true },
        prompts: { listChanged: true },
        completions: {},
        logging: {},
      },
      cacheHints: { "tools/list": { ttlMs: 60_000, cacheScope: "public" } },
      requestState: { verify: state.verify },
    },
  );
  contentTools(server);
  progressTools(server);
  clientTools(server);
  inputTools(server);
  schemaTools(server);
  changeTools(server, notify);
  resources(server);
  prompts(server);
  return server;
}

const text = (value: string): CallToolResult => ({ content: [{ type: "text", text: value }] });
const image = { type: "image" as const, data: PNG, mimeType: "image/png" };

function contentTools(server: McpServer): void {
  const answers: Record<string, CallToolResult> = {
    test_simple_text: text("This is a simple text response for testing."),
    test_image_content: { content: [image] },
    test_audio_content: { content: [{ type: "audio", data: WAV, mimeType: "audio/wav" }] },
    test_embedded_resource: {
      content: [
        {
          type: "resource",
          resource: {
            uri: "test://embedded-resource",
            mimeType: "text/plain",
            text: "This is an embedded resource content.",
          },
        },
      ],
    },
    test_multiple_content_types: {
      content: [
        { type: "text", text: "Multiple content types test:" },
        image,
        {
          type: "resource",
          resource: {
            uri: "test://mixed-content-resource",
            mimeType: "application/json",
            text: JSON.stringify({ test: "data", value: 123 }),
          },
        },
      ],
    },
  };
  for (const [name, answer] of Object.entries(answers))
    server.registerTool(name, { description: `Answers with ${name.slice(5)}.` }, () => answer);
  server.registerTool("test_error_handling", { description: "Fails." }, () => {
    throw new Error("This tool intentionally returns an error for testing");
  });
}

function progressTools(server: McpServer): void {
  server.registerTool("test_tool_with_logging", { description: "Logs three times." }, async (ctx) => {
    await ctx.mcpReq.log("info", "Tool execution started");
    await sleep(50);
    await ctx.mcpReq.log("info", "Tool processing data");
    await sleep(50);
    await ctx.mcpReq.log("info", "Tool execution completed");
    return text("Logged three times.");
  });
  server.registerTool(
    "test_logging_tool",
    { description: "Logs if the request asks for it." },
    async (ctx) => {
      await ctx.mcpReq.log("info", "A message that only those get who asked for logs");
      return text("Done.");
    },
  );
  server.registerTool("test_tool_with_progress", { description: "Reports progress." }, async (ctx) => {
    const progressToken = ctx.mcpReq._meta?.progressToken;
    for (const progress of [0, 50, 100]) {
      if (progress > 0) await sleep(50);
      if (progressToken !== undefined)
        await ctx.mcpReq.notify({
          method: "notifications/progress",
          params: { progressToken, progress, total: 100 },
        });
    }
    return text("Went from 0 to 100.");
  });
  server.registerTool(
    "test_reconnection",
    { description: "Closes its stream before it answers." },
    async (ctx) => {
      ctx.http?.closeSSE?.();
      await sleep(100);
      return text("The answer after the stream was closed.");
    },
  );
}

/** Tools that ask the client while they run, as the revisions with a handshake do. */
function clientTools(server: McpServer): void {
  server.registerTool(
    "test_sampling",
    { description: "Has the client's model answer.", inputSchema: z.object({ prompt: z.string() }) },
    async ({ prompt }, ctx) => {
      const { content } = await ctx.mcpReq.requestSampling({
        messages: [{ role: "user", content: { type: "text", text: prompt } }],
        maxTokens: 100,
      });
      const said = "type" in content && content.type === "text" ? content.text : JSON.stringify(content);
      return text(`LLM response: ${said}`);
    },
  );
  const elicit = async (ctx: ServerContext, message: string, properties: object, required: string[] = []) => {
    const requestedSchema = { type: "object", properties, required } as never;
    const { action, content } = await ctx.mcpReq.elicitInput({ mode: "form", message, requestedSchema });
    return `action=${action}, content=${JSON.stringify(content ?? {})}`;
  };
  server.registerTool(
    "test_elicitation",
    { description: "Asks the user for a name.", inputSchema: z.object({ message: z.string() }) },
    async ({ message }, ctx) => {
      const properties = {
        username: { type: "string", description: "User's response" },
        email: { type: "string", description: "User's email address" },
      };
      return text(`User response: ${await elicit(ctx, message, properties, ["username", "email"])}`);
    },
  );
  server.registerTool(
    "test_elicitation_sep1034_defaults",
    { description: "Asks with defaults." },
    async (ctx) =>
      text(
        `Elicitation completed: ${await elicit(ctx, "Please look through these", {
          name: { type: "string", default: "John Doe" },
          age: { type: "integer", default: 30 },
          score: { type: "number", default: 95.5 },
          status: { type: "string", enum: ["active", "inactive", "pending"], default: "active" },
          verified: { type: "boolean", default: true },
        })}`,
      ),
  );
  const options = ["option1", "option2", "option3"];
  const titled = (word: string) =>
    ["First", "Second", "Third"].map((nth, index) => ({
      const: `value${index + 1}`,
      title: `${nth} ${word}`,
    }));
  server.registerTool("test_elicitation_sep1330_enums", { description: "Asks to choose." }, async (ctx) =>
    text(
      `Elicitation completed: ${await elicit(ctx, "Please choose", {
        untitledSingle: { type: "string", enum: options },
        titledSingle: { type: "string", oneOf: titled("Option") },
        legacyEnum: {
          type: "string",
          enum: ["opt1", "opt2", "opt3"],
          enumNames: ["Option One", "Option Two", "Option Three"],
        },
        untitledMulti: { type: "array", items: { type: "string", enum: options } },
        titledMulti: { type: "array", items: { anyOf: titled("Choice") } },
      })}`,
    ),
  );
}

type Field = { type: "string" } | { type: "boolean" };
const askFor = (message: string, name: string, field: Field = { type: "string" }) =>
  inputRequired.elicit({
    message,
    requestedSchema: { type: "object", properties: { [name]: field }, required: [name] },
  });
const askModel = (question: string, maxTokens: number) =>
  inputRequired.createMessage({
    messages: [{ role: "user", content: { type: "text", text: question } }],
    maxTokens,
  });

/** Tools that answer with what they need, as the stateless revision does. */
function inputTools(server: McpServer): void {
  const tool = (
    name: string,
    run: (ctx: ServerContext) => Promise<CallToolResult | ReturnType<typeof inputRequired>>,
  ) => server.registerTool(name, { description: `Needs input: ${name.slice(5)}.` }, run);
  const named = z.object({ name: z.string() });
  const confirmed = z.object({ ok: z.boolean() });

  for (const name of ["test_input_required_result_elicitation", "test_streaming_elicitation"])
    tool(name, async ({ mcpReq }) => {
      const given = acceptedContent(mcpReq.inputResponses, "user_name", named);
      if (given) return text(`Hello, ${given.name}!`);
      return inputRequired({ inputRequests: { user_name: askFor("What is your name?", "name") } });
    });
  tool("test_input_required_result_sampling", async ({ mcpReq }) => {
    const given = inputResponse(mcpReq.inputResponses, "capital_question");
    if (given.kind === "sampling") return text(JSON.stringify(given.result.content));
    return inputRequired({
      inputRequests: { capital_question: askModel("What is the capital of France?", 100) },
    });
  });
  tool("test_missing_capability", async ({ mcpReq }) => {
    const given = inputResponse(mcpReq.inputResponses, "question");
    if (given.kind === "sampling") return text(JSON.stringify(given.result.content));
    return inputRequired({ inputRequests: { question: askModel("Are you there?", 10) } });
  });
  tool("test_input_required_result_list_roots", async ({ mcpReq }) => {
    const given = inputResponse(mcpReq.inputResponses, "client_roots");
    if (given.kind === "roots") return text(given.roots.map(({ uri }) => uri).join("\n"));
    return inputRequired({ inputRequests: { client_roots: inputRequired.listRoots() } });
  });
  for (const name of ["request_state", "tampered_state"])
    tool(`test_input_required_result_${name}`, async ({ mcpReq }) => {
      const before = mcpReq.requestState<{ asked: string }>();
      const given = acceptedContent(mcpReq.inputResponses, "confirm", confirmed);
      if (given && before?.asked === name) return text("state-ok");
      return inputRequired({
        inputRequests: { confirm: askFor("Please confirm", "ok", { type: "boolean" }) },
        requestState: await state.mint({ asked: name }),
      });
    });
  tool("test_input_required_result_multiple_inputs", async ({ mcpReq }) => {
    const name = acceptedContent(mcpReq.inputResponses, "user_name", named);
    const greeting = inputResponse(mcpReq.inputResponses, "greeting");
    const roots = inputResponse(mcpReq.inputResponses, "client_roots");
    if (mcpReq.requestState() && name && greeting.kind === "sampling" && roots.kind === "roots")
      return text(`${name.name}: ${JSON.stringify(greeting.result.content)}, ${roots.roots.length} roots`);
    return inputRequired({
      inputRequests: {
        user_name: askFor("What is your name?", "name"),
        greeting: askModel("Generate a greeting", 50),
        client_roots: inputRequired.listRoots(),
      },
      requestState: await state.mint({ asked: "all" }),
    });
  });
  tool("test_input_required_result_multi_round", async ({ mcpReq }) => {
    const before = mcpReq.requestState<{ name?: string }>();
    const color = acceptedContent(mcpReq.inputResponses, "step2", z.object({ color: z.string() }));
    if (before?.name !== undefined && color) return text(`${before.name} likes ${color.color}.`);
    const first = acceptedContent(mcpReq.inputResponses, "step1", named);
    if (before && first)
      return inputRequired({
        inputRequests: { step2: askFor("Step 2: What is your favorite color?", "color") },
        requestState: await state.mint({ name: first.name }),
      });
    return inputRequired({
      inputRequests: { step1: askFor("Step 1: What is your name?", "name") },
      requestState: await state.mint({}),
    });
  });
  tool("test_input_required_result_capabilities", async ({ mcpReq }) => {
    const { sampling, elicitation } = capabilitiesOf(mcpReq.envelope);
    if (mcpReq.inputResponses) return text("Thank you.");
    return inputRequired({
      inputRequests: {
        ...(sampling && { question: askModel("What is the capital of France?", 100) }),
        ...(elicitation && { user_name: askFor("What is your name?", "name") }),
      },
    });
  });
}

/** What the client of this request can do. */
function capabilitiesOf(envelope: object | undefined): ClientCapabilities {
  return (envelope as Record<string, ClientCapabilities> | undefined)?.[CLIENT_CAPABILITIES_META_KEY] ?? {};
}

function schemaTools(server: McpServer): void {
  server.registerTool(
    "json_schema_2020_12_tool",
    {
      description: "Tool with JSON Schema 2020-12 features",
      inputSchema: fromJsonSchema({
        $schema: "https://json-schema.org/draft/2020-12/schema",
        type: "object",
        $defs: {
          address: {
            $anchor: "addressDef",
            type: "object",
            properties: { street: { type: "string" }, city: { type: "string" } },
          },
        },
        properties: {
          name: { type: "string" },
          address: { $ref: "#/$defs/address" },
          contactMethod: { type: "string", enum: ["phone", "email"] },
          phone: { type: "string" },
          email: { type: "string" },
        },
        allOf: [{ anyOf: [{ required: ["phone"] }, { required: ["email"] }] }],
        if: { properties: { contactMethod: { const: "phone" } }, required: ["contactMethod"] },
        // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
        then: { required: ["phone"] },
        else: { required: ["email"] },
        additionalProperties: false,
      }),
    },
    (given) => text(JSON.stringify(given)),
  );
  const region = { type: "string", "x-mcp-header": "Region" } as const;
  server.registerTool(
    "test_custom_header",
    {
      description: "Takes its argument in a header too.",
      inputSchema: fromJsonSchema<{ region: string }>({
        type: "object",
        properties: { region },
        required: ["region"],
      }),
    },
    ({ region }) => text(region),
  );
}

/** Which tool and prompt are there besides the others: every server of this process shows the same lists. */
const extra = { tool: false, prompt: false };

function changeTools(server: McpServer, notify: () => ServerNotifier): void {
  if (extra.tool)
    server.registerTool("test_extra_tool", { description: "Comes and goes." }, () => text("Here."));
  if (extra.prompt)
    server.registerPrompt("test_extra_prompt", { description: "Comes and goes." }, () => ({ messages: [] }));
  server.registerTool("test_trigger_tool_change", { description: "Adds a tool, or takes it out." }, () => {
    extra.tool = !extra.tool;
    notify().toolsChanged();
    return text("The tools have changed.");
  });
  server.registerTool(
    "test_trigger_prompt_change",
    { description: "Adds a prompt, or takes it out." },
    () => {
      extra.prompt = !extra.prompt;
      notify().promptsChanged();
      return text("The prompts have changed.");
    },
  );
}

function resources(server: McpServer): void {
  const watched = new Set<string>();
  server.server.setRequestHandler("resources/subscribe", ({ params }) => {
    watched.add(params.uri);
    return {};
  });
  server.server.setRequestHandler("resources/unsubscribe", ({ params }) => {
    watched.delete(params.uri);
    return {};
  });
  const add = (uri: string, mimeType: string, content: { text: string } | { blob: string }) =>
    server.registerResource(uri.slice(7), uri, { description: `The resource ${uri}.`, mimeType }, () => ({
      contents: [{ uri, mimeType, ...content }],
    }));
  add("test://static-text", "text/plain", { text: "This is the content of the static text resource." });
  add("test://static-binary", "image/png", { blob: PNG });
  add("test://watched-resource", "text/plain", { text: "Nothing happens here." });
  server.registerResource(
    "template",
    new ResourceTemplate("test://template/{id}/data", { list: undefined }),
    { description: "Data of an id.", mimeType: "application/json" },
    ({ href: uri }, { id }) => ({
      contents: [
        {
          uri,
          mimeType: "application/json",
          text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` }),
        },
      ],
    }),
  );
}

function prompts(server: McpServer): void {
  const says = (value: string) => ({
    role: "user" as const,
    content: { type: "text" as const, text: value },
  });
  server.registerPrompt("test_simple_prompt", { description: "Without arguments." }, () => ({
    messages: [says("This is a simple prompt for testing.")],
  }));
  server.registerPrompt(
    "test_prompt_with_arguments",
    {
      description: "With two arguments.",
      argsSchema: z.object({
        arg1: completable(z.string().describe("First test argument"), (value) =>
          ["paris", "park", "party"].filter((word) => word.startsWith(value)),
        ),
        arg2: z.string().describe("Second test argument"),
      }),
    },
    ({ arg1, arg2 }) => ({ messages: [says(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`)] }),
  );
  server.registerPrompt(
    "test_prompt_with_embedded_resource",
    {
      description: "With a resource in it.",
      argsSchema: z.object({ resourceUri: z.string().describe("URI of the resource to embed") }),
    },
    ({ resourceUri }) => ({
      messages: [
        {
          role: "user",
          content: {
            type: "resource",
            resource: {
              uri: resourceUri,
              mimeType: "text/plain",
              text: "Embedded resource content for testing.",
            },
          },
        },
        says("Please process the embedded resource above."),
      ],
    }),
  );
  server.registerPrompt("test_prompt_with_image", { description: "With an image in it." }, () => ({
    messages: [{ role: "user", content: image }, says("Please analyze the image above.")],
  }));
  server.registerPrompt(
    "test_input_required_result_prompt",
    { description: "Needs input first." },
    async (ctx) => {
      const given = acceptedContent(
        ctx.mcpReq.inputResponses,
        "user_context",
        z.object({ context: z.string() }),
      );
      if (given) return { messages: [says(`Context: ${given.context}`)] };
      return inputRequired({
        inputRequests: { user_context: askFor("What context should the prompt use?", "context") },
      });
    },
  );
}
