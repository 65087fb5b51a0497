/** The gateway's `/mcp`, loaded when somebody first asks for it. */
export async function openMcpEndpoint(options: { gatewayUrl: string }) {
  const { createMcpEndpoint } = await import("../mcp/http.js");
  return createMcpEndpoint(options);
}
