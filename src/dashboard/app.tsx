import { useEffect } from "react";
import { askWhoIAm, useSignin } from "./api.js";
import { ErrorState } from "./components/error-state.js";
import { Loading } from "./components/loading.js";
import { Toasts } from "./components/toast.js";
import { listenToKeys } from "./keyboard.js";
import { SignInPage } from "./pages/sign-in.js";
import { Shell } from "./shell.js";
import { forgetAll } from "./use-loaded.js";

/** The page: the way in, or what the account has. */
export function App() {
  const signin = useSignin();
  useEffect(() => void askWhoIAm(), []);
  useEffect(listenToKeys, []);
  useEffect(() => {
    if (signin.state === "out") forgetAll();
  }, [signin.state]);
  return (
    <>
      {signin.state === "in" && <Shell />}
      {signin.state === "out" && <SignInPage />}
      {signin.state === "unknown" && <Loading what="this gateway" />}
      {signin.state === "failed" && (
        <main className="mx-auto max-w-lg p-6">
          <ErrorState error={signin.error} retry={() => void askWhoIAm()} />
        </main>
      )}
      <Toasts />
    </>
  );
}
