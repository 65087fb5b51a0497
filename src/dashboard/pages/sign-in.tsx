import { askWhoIAm } from "../api.js";
import { Button } from "../components/button.js";
import { CopyCommand } from "../components/copy-command.js";

/** What a person sees who is not signed in: the ways in. */
export function SignInPage() {
  return (
    <main className="mx-auto flex max-w-md flex-col gap-6 p-6 pt-[12vh]">
      <div>
        <img src="./icon.svg" alt="" width="36" height="36" />
        <h1 className="mt-4 font-semibold text-xl tracking-tight">Sign in to this cerver gateway</h1>
        <p className="text-soft">Apps use sessions. Providers supply compute.</p>
      </div>
      <section className="flex flex-col gap-2">
        <h2 className="font-medium">With a one-time link</h2>
        <p className="text-soft">On the machine where the gateway runs, type</p>
        <CopyCommand text="cerver signin-link" />
        <p className="text-soft">and open the address it prints, in this browser.</p>
        <div>
          <Button onClick={() => void askWhoIAm()}>I have signed in</Button>
        </div>
      </section>
    </main>
  );
}
