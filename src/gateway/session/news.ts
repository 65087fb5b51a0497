import type { SessionNews } from "../../protocol/news.js";

/** Whose news it is. */
interface About {
  id: string;
  account_id: string;
}
type Listener = (news: SessionNews) => void;

/** Tells whoever listens what happens in sessions, while it happens. Nothing is kept, and telling costs nobody a wait. */
export class News {
  readonly #bySession = new Map<string, Set<Listener>>();
  readonly #byAccount = new Map<string, Set<Listener>>();

  tell({ id, account_id }: About, news: SessionNews): void {
    for (const listener of this.#bySession.get(id) ?? []) listener(news);
    for (const listener of this.#byAccount.get(account_id) ?? []) listener(news);
  }

  /** Tells those who listen to a whole account. */
  tellAccount(accountId: string, news: SessionNews): void {
    for (const listener of this.#byAccount.get(accountId) ?? []) listener(news);
  }

  /** Whether anybody would hear of this session. */
  isHeard({ id, account_id }: About): boolean {
    return this.#bySession.has(id) || this.#byAccount.has(account_id);
  }

  /** Hears of one session, or of all of an account, until the returned function is called. */
  listen(to: { sessionId: string } | { accountId: string }, listener: Listener): () => void {
    const [listeners, key] =
      "sessionId" in to ? [this.#bySession, to.sessionId] : [this.#byAccount, to.accountId];
    const all = listeners.get(key) ?? new Set();
    listeners.set(key, all.add(listener));
    return () => {
      all.delete(listener);
      if (all.size === 0) listeners.delete(key);
    };
  }
}
