import { Component, type ReactNode } from "react";
import { CerverError } from "../../client/index.js";
import { ErrorState } from "./error-state.js";

/** A fault of one page leaves the navigation usable, and says so. */
export class ErrorBoundary extends Component<{ children: ReactNode }, { error: CerverError | undefined }> {
  override state = { error: undefined };

  static getDerivedStateFromError(error: unknown) {
    return {
      error: new CerverError("internal", "This page has a fault and cannot be shown.", {
        hint: `${error instanceof Error ? error.message : String(error)}. Loading it again may help: the gateway may have a newer version.`,
        cause: error,
      }),
    };
  }

  override render() {
    const { error } = this.state;
    if (!error) return this.props.children;
    return (
      <div className="p-4">
        <ErrorState error={error} retry={() => location.reload()} />
      </div>
    );
  }
}
