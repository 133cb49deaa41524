package model

// words are the pieces of the built-in vocabulary, made for the project: some hundred function
// words, then content words, which make the text of a model with dummy weights readable. Each is a
// token with a space before it; those before the bar are also tokens without the space.
const words = `. , ? ! ; : - ' " ( ) a I an the The it It we We you You in to of s t
|and is was are be been have has had do does did not no yes so but or if then than when where why how what who
which this that these those there here he she they him her them his its our your their my me us all some any
each both few more most other such only own same too very can will would could should may might must shall for
from with without about into over under after before between through during against again once up down out off
on at by as one two three four five six seven eight nine ten first second third last next new old good great
small large long short high low early late young right left big little hot cold warm cool bright dark light
quiet loud slow quick soft hard deep wide near far open close full empty clear plain simple strange gentle
time day night morning evening year month week hour minute moment season spring summer autumn winter sun moon
star sky cloud rain snow wind storm sea river lake island shore wave stone sand earth mountain hill valley
forest tree leaf flower grass root seed garden field road path bridge house door window wall room table chair
lamp book page letter word line story song music voice sound silence drum bell string note dance paint picture
film frame scene camera lens screen mirror shadow color red blue green yellow white black gold silver gray
bird cat dog horse fish bee wolf fox bear lion whale child friend mother father sister brother teacher doctor
farmer sailor pilot captain king queen city town village street market shop school station train ship boat
wheel engine machine model tool wire clock key box bag cup plate bread water tea milk salt sugar apple honey
hand eye ear face heart mind head foot arm name number question answer reason idea dream hope fear joy peace
love work play rest sleep wake walk run fly swim climb fall rise turn move stop start begin end carry bring
take give make build break cut draw write read speak say tell ask hear see look watch find lose keep hold
show hide send meet leave arrive return follow lead learn teach know think feel want need help try use grow
change remember forget understand believe choose wait listen laugh smile cry sing call count measure pour`
