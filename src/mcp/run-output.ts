/**
 * What a run printed, in at most `room` characters: its beginning and its end, with the middle named. A third of the
 * room is for the beginning; how a command ended is what most readers came for.
 */
export class RunOutput {
  readonly #room: number;
  #head = "";
  #tail = "";
  #dropped = 0;

  constructor(room: number) {
    this.#room = room;
  }

  add(text: string): void {
    const headRoom = Math.floor(this.#room / 3) - this.#head.length;
    if (headRoom > 0 && this.#tail === "" && this.#dropped === 0) {
      this.#head += text.slice(0, headRoom);
      text = text.slice(headRoom);
    }
    this.#tail += text;
    const tailRoom = this.#room - Math.floor(this.#room / 3);
    // Cut when it is twice too long, so that the cost of a character stays constant.
    if (this.#tail.length > 2 * tailRoom) this.#cutTo(tailRoom);
  }

  /** Bytes that were never kept, or that the journal has dropped. */
  gap(bytes: number): void {
    this.add(`\n[cerver: ${bytes} bytes are no longer kept here]\n`);
  }

  get truncated(): boolean {
    return this.#dropped > 0 || this.#head.length + this.#tail.length > this.#room;
  }

  toString(): string {
    this.#cutTo(this.#room - Math.floor(this.#room / 3));
    if (this.#dropped === 0) return this.#head + this.#tail;
    return `${this.#head}\n[cerver: ${this.#dropped} characters left out here]\n${this.#tail}`;
  }

  #cutTo(length: number): void {
    const excess = this.#tail.length - length;
    if (excess <= 0) return;
    this.#dropped += excess;
    this.#tail = this.#tail.slice(excess);
  }
}
