"""What a fleet can do: definitions, schemas, users' files; what everybody loads who takes or checks a task."""
