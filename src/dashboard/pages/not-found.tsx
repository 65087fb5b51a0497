import { EmptyState } from "../components/empty-state.js";
import { href } from "../router.js";

export function NotFoundPage() {
  return (
    <EmptyState title="There is no such page">
      <p className="text-center text-soft">
        The address may be of another version.{" "}
        <a className="text-accent underline" href={href("sessions")}>
          Go to the sessions
        </a>
      </p>
    </EmptyState>
  );
}
