import { type InputHTMLAttributes, type ReactNode, type SelectHTMLAttributes, useId } from "react";

const LOOK = "w-full rounded-md border border-line bg-surface px-2.5 py-1.5 placeholder:text-soft";

/** A name above something to fill in, and a line below that says more. */
export function Field({
  label,
  hint,
  children,
}: {
  label: string;
  hint?: ReactNode;
  children: (id: string, hintId: string | undefined) => ReactNode;
}) {
  const id = useId();
  return (
    <div className="flex flex-col gap-1">
      <label htmlFor={id} className="font-medium text-sm">
        {label}
      </label>
      {children(id, hint ? `${id}-hint` : undefined)}
      {hint && (
        <p id={`${id}-hint`} className="text-sm text-soft">
          {hint}
        </p>
      )}
    </div>
  );
}

export function TextField({
  label,
  hint,
  ...input
}: { label: string; hint?: ReactNode } & InputHTMLAttributes<HTMLInputElement>) {
  return (
    <Field label={label} hint={hint}>
      {(id, hintId) => <input type="text" {...input} id={id} aria-describedby={hintId} className={LOOK} />}
    </Field>
  );
}

export function SelectField({
  label,
  hint,
  options,
  ...select
}: {
  label: string;
  hint?: ReactNode;
  options: readonly (readonly [value: string, name: string])[];
} & SelectHTMLAttributes<HTMLSelectElement>) {
  return (
    <Field label={label} hint={hint}>
      {(id, hintId) => (
        <select {...select} id={id} aria-describedby={hintId} className={LOOK}>
          {options.map(([value, name]) => (
            <option key={value} value={value}>
              {name}
            </option>
          ))}
        </select>
      )}
    </Field>
  );
}
