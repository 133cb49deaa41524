// What the pages know of the DOM and the compiler does not: their listeners sit on elements, and
// what they look up by selector has the properties that its markup gives it.
interface EventTarget {
  readonly nodeName: string;
  readonly dataset: DOMStringMap;
  readonly elements: HTMLFormControlsCollection & { namedItem(name: string): any };
  id: string;
  name: string;
  type: string;
  value: string;
  checked: boolean;
  closest(selectors: string): any;
}
interface Element {
  readonly dataset: DOMStringMap;
  checked: boolean;
  disabled: boolean;
}
