// What the tests of each client ask: a model of data, a tool, and a question.
import { z } from "zod";

export const MODEL = process.env.CLIENTS_MODEL;
export const QUESTION = "Anna is 30 years old and lives in Bern. Answer in JSON.";
// The whole answer of an untuned model is one of few.
export const Customer = z.object({
  name: z.enum(["Anna", "Bela"]),
  age: z.number().int().min(0).max(99),
  address: z.object({ city: z.enum(["Bern", "Chur"]) }),
});
export const Place = z.object({ city: z.enum(["Bern", "Chur"]) });
